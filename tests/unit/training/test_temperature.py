"""The learned temperature moves with the other parameters, and stays within CLIP's bounds."""

import math

import pytest
import torch

from wristmir_ray.models.clip import build, lock
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.training.config import OptimConfig
from wristmir_ray.training.optim import optimizer, update


@pytest.mark.parametrize(
    ("start", "slope", "wanted"),
    [(math.log(99.9), -1.0, math.log(100)), (0.02, 1.0, 0.0), (2.0, -1.0, 2.5), (2.0, 1.0, 1.5)],
)
def test_it_is_learned_within_its_bounds(start: float, slope: float, wanted: float) -> None:
    """AdamW's first step is the rate, against the slope's sign: 0.5 from 2, less where a bound stops it."""
    clip = build(EncoderConfig(init="random"))
    lock(clip, image_blocks=None, text=False)
    config = OptimConfig(lr=0.5, max_scale=100.0)
    with torch.no_grad():
        clip.model.logit_scale.fill_(start)
    assert clip.model.logit_scale.requires_grad
    clip.model.logit_scale.grad = torch.tensor(slope)
    update(clip.model, optimizer(clip.model, config), config.lr, config)
    assert float(clip.model.logit_scale.detach()) == pytest.approx(wanted, abs=1e-5)
