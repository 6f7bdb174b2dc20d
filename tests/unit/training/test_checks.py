"""What is found before any rank starts: batches that teach nothing, too many rejects, checkpoints that do not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.test_learner import learner
from wristmir_ray.errors import TooManyRejects
from wristmir_ray.training import checkpoint
from wristmir_ray.training.checks import check_rejects, first_uniform_batch, named
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import epoch_order


def test_the_first_batch_of_one_caption_is_the_one_that_training_would_meet() -> None:
    caption = np.array([0] * 30 + [1, 2])
    found = first_uniform_batch(caption, batch_size=4, seed=3, total=24, an_epoch=8)
    batches = [caption[row] for epoch in range(3) for row in epoch_order(32, 4, 3, epoch)]
    assert found == next(i for i, batch in enumerate(batches) if len(set(batch)) == 1)


def test_a_caption_that_fills_no_batch_needs_no_search() -> None:
    caption = np.arange(40) % 8
    assert first_uniform_batch(caption, batch_size=8, seed=0, total=5, an_epoch=5) is None


def test_steps_that_are_not_taken_are_not_looked_at() -> None:
    caption = np.array([0, 1] * 8 + [0] * 16)
    first = first_uniform_batch(caption, batch_size=2, seed=0, total=160, an_epoch=16)
    assert first is not None
    assert first_uniform_batch(caption, batch_size=2, seed=0, total=first, an_epoch=16) is None
    assert first_uniform_batch(caption, batch_size=2, seed=0, total=first + 1, an_epoch=16) == first


def test_rejects_within_the_budget_pass_and_others_are_named() -> None:
    config = TrainClipConfig(max_reject_share=0.1)
    check_rejects(config, ["a|wrist"], 10)
    with pytest.raises(
        TooManyRejects, match=r"4 of 10 .*: a\|wrist, b\|wrist, c\|wrist and 1 more; run preprocess"
    ) as e:
        check_rejects(config, ["a|wrist", "b|wrist", "c|wrist", "d|wrist"], 10)
    assert e.value.exit_code == 3
    assert named(["a"]) == "a"


def test_a_checkpoint_restores_history_and_weights(tmp_path: Path) -> None:
    first = learner(tmp_path)
    first.train_epoch(0)
    checkpoint.write(str(tmp_path), first, [{"kind": "start", "ranks": 1}])
    again = learner(tmp_path)
    assert checkpoint.restore(str(tmp_path), again) == [{"kind": "start", "ranks": 1}]
    assert again.next_epoch == 1
    stored = checkpoint.weights(str(tmp_path))
    assert all(torch.equal(value, stored[name]) for name, value in again.model.state_dict().items())


def test_a_checkpoint_of_another_architecture_is_told_by_its_tensors(tmp_path: Path) -> None:
    one = learner(tmp_path)
    checkpoint.write(str(tmp_path), one, [])
    other = learner(tmp_path, encoder={"model": "ViT-B-32", "init": "random", "image_size": 32})
    with pytest.raises(checkpoint.CheckpointUnfit, match=r"another architecture: \d+ tensors differ, first .*wanted"):
        checkpoint.restore(str(tmp_path), other)


@pytest.mark.parametrize("damage", [lambda b: b[:-200], lambda b: b"", lambda b: b"none" + b])
def test_a_damaged_checkpoint_is_told(damage: object, tmp_path: Path) -> None:
    one = learner(tmp_path)
    checkpoint.write(str(tmp_path), one, [])
    state = tmp_path / checkpoint.STATE
    state.write_bytes(damage(state.read_bytes()))  # type: ignore[operator]
    with pytest.raises(checkpoint.CheckpointUnfit, match=r"damaged \(\w+ in state.pt\)"):
        checkpoint.restore(str(tmp_path), one)


def test_what_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    one = learner(tmp_path)
    checkpoint.write(str(tmp_path), one, [])
    torch.save({"weights": torch.zeros(1)}, tmp_path / checkpoint.STATE)
    with pytest.raises(checkpoint.CheckpointUnfit, match=r"no checkpoint of training: state.pt holds \['weights'\]"):
        checkpoint.restore(str(tmp_path), one)
