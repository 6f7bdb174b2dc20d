"""Training in one process: recorded losses, resume, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training import toy
from wristmir_ray.anatomy import Split
from wristmir_ray.models.clip import build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.learner import Learner, NonFiniteLoss

# A tenth of the demo's rate and less: rounding differs between processors and is not amplified.
GOLDEN = [3.893957, 3.731812, 3.656187, 3.604151, 3.569754, 3.537845, 3.763003, 3.664707, 3.684899, 3.504424]


def learner(folder: Path, **changes: object) -> Learner:
    """A 32 px learner on 40 drawn exams: 96 training pairs, 3 steps an epoch."""
    settings = {
        "encoder": {"init": "random", "image_size": 32, "fixed_batch": 8},
        "batch_size": 32,
        "steps": 10,
        "optim": {"lr": 5e-5, "warmup_steps": 2},
        "trainable": {"image_blocks": None},
        "workers": {"num_workers": 1, "use_gpu": False},
        **changes,
    }
    config = TrainClipConfig(**settings)  # type: ignore[arg-type]
    torch.set_num_threads(1)  # sums in another order are other sums
    torch.manual_seed(0)
    clip = build(EncoderConfig(**config.encoder.model_dump()))
    return Learner(config, clip, toy.pairs(40, Split.TRAIN, folder), toy.pairs(40, Split.VAL, folder))


def losses(trained: Learner) -> list[float]:
    return [row["loss"] for epoch in range(trained.next_epoch, trained.epochs) for row in trained.train_epoch(epoch)]


def test_ten_seeded_steps_reproduce_the_recorded_losses(tmp_path: Path) -> None:
    assert losses(learner(tmp_path)) == pytest.approx(GOLDEN, abs=1e-4)


def test_a_resumed_run_continues_the_same_curve(tmp_path: Path) -> None:
    first = learner(tmp_path)
    first.train_epoch(0)
    torch.save(first.state(), tmp_path / "state.pt")
    rest = losses(first)
    again = learner(tmp_path)
    again.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.next_epoch == 1
    assert losses(again) == rest
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_the_last_epoch_ends_with_the_last_step(tmp_path: Path) -> None:
    trained = learner(tmp_path)
    assert (trained.steps_an_epoch, trained.epochs) == (3, 4)
    rows = [row for epoch in range(4) for row in trained.train_epoch(epoch)]
    assert [row["step"] for row in rows] == list(range(10))
    assert [row["epoch"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_validation_improves_on_a_cue_that_can_be_learned(tmp_path: Path) -> None:
    trained = learner(tmp_path, steps=60, optim={"lr": 3e-3, "warmup_steps": 4})
    before = trained.validate()
    for epoch in range(trained.epochs):
        trained.train_epoch(epoch)
    after = trained.validate()
    assert before["val_loss"] is not None
    assert after["val_loss"] is not None
    assert after["val_loss"] < before["val_loss"] - 0.2
    assert after["score"] == after["val_recall_at_5"]


def test_without_dropout_single_positive_and_multi_positive_are_one_function(tmp_path: Path) -> None:
    """Equal captions have equal features, so that the mean over positives is each positive's own term."""
    index = np.arange(32)
    single, multi = learner(tmp_path, loss="single_positive"), learner(tmp_path)
    for each in (single, multi):
        each.model.text.eval()
        each._loss(index, 0, 0).backward()  # type: ignore[no-untyped-call]
    assert len(np.unique(multi.train_pairs.caption[index])) < 10
    for name, parameter in single.model.named_parameters():
        other = multi.model.get_parameter(name)
        assert parameter.grad is not None, name
        assert torch.allclose(parameter.grad, other.grad, atol=1e-5), name


def test_a_loss_that_is_no_number_names_the_batch_and_changes_nothing(tmp_path: Path) -> None:
    trained = learner(tmp_path)
    before = {
        k: v.clone() for k, v in trained.model.visual.state_dict().items() if "running" not in k and "num_" not in k
    }
    with torch.no_grad():
        trained.model.text.token_embedding.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match=r"step 0 \(epoch 0\); its batch begins with [0-9a-f]{32}\|"):
        trained.train_epoch(0)
    assert all(torch.equal(v, trained.model.visual.state_dict()[k]) for k, v in before.items())


def test_bf16_towers_give_nearly_the_same_loss(tmp_path: Path) -> None:
    exact, rounded = learner(tmp_path), learner(tmp_path, precision="bf16")
    with torch.no_grad():
        assert rounded._loss(np.arange(32), 0, 0).item() == pytest.approx(
            exact._loss(np.arange(32), 0, 0).item(), abs=0.1
        )
