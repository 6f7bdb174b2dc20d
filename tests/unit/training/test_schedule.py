"""The learning rate against its closed form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import REPO
from wristmir_ray.config import load_config
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.schedule import learning_rate, num_steps


def test_the_papers_schedule_in_numbers() -> None:
    """30 epochs of 10 batches, 50 warm-up steps (App. C)."""
    total, an_epoch = num_steps(pairs=20500, batch_size=2048, epochs=30, steps=None)
    assert (total, an_epoch) == (300, 10)
    curve = [learning_rate(s, total, 50, 1e-5) for s in range(total)]
    assert curve[0] == pytest.approx(1e-5 / 50)
    assert curve[49] == curve[50] == 1e-5
    assert curve[175] == pytest.approx(0.5e-5)
    assert curve[-1] == pytest.approx(0.5e-5 * (1 + math.cos(math.pi * 249 / 250)))


def test_it_is_open_clips_curve() -> None:
    from open_clip_train.scheduler import cosine_lr

    class Optimizer:
        param_groups = [{"lr": 0.0}]  # noqa: RUF012

    peer = cosine_lr(Optimizer(), 3e-3, 16, 200)
    assert [learning_rate(s, 200, 16, 3e-3) for s in range(200)] == pytest.approx([peer(s) for s in range(200)])


@given(st.integers(1, 400), st.integers(0, 100), st.integers(0, 399))
def test_it_rises_then_falls_and_stays_in_bounds(total: int, warmup: int, step: int) -> None:
    if step >= total:
        with pytest.raises(ValueError, match="not in"):
            learning_rate(step, total, warmup, 1.0)
        return
    here = learning_rate(step, total, warmup, 1.0)
    assert 0 <= here <= 1
    if step + 1 < total:
        after = learning_rate(step + 1, total, warmup, 1.0)
        assert after >= here if step < warmup - 1 else after <= here


def test_a_step_count_overrides_the_epochs() -> None:
    assert num_steps(1000, 128, 30, 200) == (200, 7)


def test_the_papers_yaml_gives_the_papers_curve() -> None:
    """Its 7,540 exams with four pairs each make 14 batches an epoch and 420 steps (App. C)."""
    paper = load_config(TrainClipConfig, [], REPO / "jobs" / "train_clip.yaml")
    total, an_epoch = num_steps(4 * 7540, paper.batch_size, paper.epochs, paper.steps)
    assert (total, an_epoch) == (420, 14)
    assert (paper.optim.lr, paper.optim.warmup_steps, paper.workers.num_workers) == (1e-5, 50, 4)
    curve = [learning_rate(s, total, paper.optim.warmup_steps, paper.optim.lr) for s in range(total)]
    rise = [1e-5 * (s + 1) / 50 for s in range(50)]
    fall = [1e-5 * math.cos(math.pi * (s - 50) / 370 / 2) ** 2 for s in range(50, 420)]
    assert curve == pytest.approx(rise + fall, rel=1e-12)
