"""Training in one process: resume, validation, what is refused."""

from pathlib import Path

import pytest
import torch

from tests.unit.training.toy import learner, losses
from wristmir_ray.training.learner import Learner, NonFiniteLoss


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


def first_loss(trained: Learner) -> float:
    batch = next(iter(trained._batches.of_epoch(0, 0, 1)))
    return trained.forward(batch, 0).loss


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


def test_a_gradient_that_is_no_number_changes_nothing(tmp_path: Path) -> None:
    """A finite loss whose gradient overflows on its way back."""
    trained = learner(tmp_path)
    head = trained.model.visual.head.proj.weight
    head.register_hook(lambda grad: grad * float("inf"))
    before = head.detach().clone()
    with pytest.raises(NonFiniteLoss, match=r"norm of the gradient (nan|inf) at step 0 .* begins with [0-9a-f]{32}\|"):
        trained.train_epoch(0)
    assert torch.equal(head, before)


def test_bf16_towers_give_nearly_the_same_loss(tmp_path: Path) -> None:
    exact, rounded = learner(tmp_path), learner(tmp_path, precision="bf16")
    assert first_loss(rounded) == pytest.approx(first_loss(exact), abs=0.1)
