"""Random views: bounded, reproducible, never mirrored."""

import numpy as np
import torch

from wristmir_ray.training.augment import augment, draws, plain
from wristmir_ray.training.config import AugmentConfig

STILL = AugmentConfig(shift=0, scale=0, rotate_deg=0, gain=0, contrast=0)


def test_no_change_is_no_change() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
    seen = augment(pixels, torch.from_numpy(draws(3, 0, 0, 0)), 32, STILL)
    assert torch.allclose(seen, pixels.float() / 255, atol=1e-6)
    assert torch.equal(plain(pixels, 32), pixels.float() / 255)


def test_views_stay_in_range_and_differ() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 40, 40), dtype=np.uint8)).repeat(8, 1, 1)
    seen = augment(pixels, torch.from_numpy(draws(8, 0, 0, 0)), 32, AugmentConfig(rotate_deg=5))
    assert seen.shape == (8, 32, 32)
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert len(torch.unique(seen.flatten(1), dim=0)) == 8


def test_left_stays_left() -> None:
    """A mark on the left is on the left in every view, whatever the draw."""
    pixels = torch.zeros(256, 40, 40, dtype=torch.uint8)
    pixels[:, 5:35, 4:12] = 255
    config = AugmentConfig(shift=0.2, scale=0.2, rotate_deg=15)
    seen = augment(pixels, torch.from_numpy(draws(256, 1, 0, 0)), 32, config)
    columns = seen.sum(1)
    assert (columns[:, :16].sum(1) > columns[:, 16:].sum(1)).all()


def test_a_shift_moves_by_its_share_of_the_side() -> None:
    pixels = torch.zeros(1, 40, 40, dtype=torch.uint8)
    pixels[:, 20, 20] = 255
    draw = torch.tensor([[0.0, 0.0, 1.0, -1.0, 0.0, 0.0]])
    seen = augment(pixels, draw, 40, STILL.model_copy(update={"shift": 0.1}))
    assert np.argwhere(seen[0].numpy() > 0.5).tolist() == [[24, 16]]


def test_draws_depend_on_seed_epoch_and_step_alone() -> None:
    first = draws(16, 5, 2, 70)
    draws(16, 5, 2, 71)
    assert np.array_equal(first, draws(16, 5, 2, 70))
    others = [draws(16, 6, 2, 70), draws(16, 5, 3, 70), draws(16, 5, 2, 71)]
    assert not any(np.array_equal(first, other) for other in others)
