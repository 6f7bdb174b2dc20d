"""Random views of training crops. No flips: laterality is a label (WristMIR §3.1)."""

import math
from typing import TYPE_CHECKING

import numpy as np

from wristmir_ray.training.config import AugmentConfig

if TYPE_CHECKING:
    import torch

_DRAWS = 6


def draws(batch: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Return float32 (B, 6) in [-1, 1) for the global batch of one step.

    They depend on seed, epoch and step alone: not on the number of ranks, nor on what ran before.
    """
    rng = np.random.default_rng([seed, epoch, step])
    return rng.uniform(-1, 1, (batch, _DRAWS)).astype(np.float32)


def augment(pixels_BSS: "torch.Tensor", draws_B6: "torch.Tensor", size: int, config: AugmentConfig) -> "torch.Tensor":
    """Return float32 (B, size, size) in [0, 1]: zoomed, rotated, shifted, brighter or darker crops.

    Args:
        pixels_BSS: uint8 (B, S, S).
        draws_B6: in [-1, 1): scale, rotation, shift x, shift y, gain, contrast.
        size: side of the result in pixels; what lies beyond the crop is black, as its padding is.
    """
    import torch
    from torch.nn import functional

    x = pixels_BSS.float().div_(255)[:, None]
    scale = 1 / (1 + config.scale * draws_B6[:, 0])
    angle = math.radians(config.rotate_deg) * draws_B6[:, 1]
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    shift = 2 * config.shift * draws_B6[:, 2:4]
    theta_B23 = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(theta_B23, [len(x), 1, size, size], align_corners=False)
    view_BHW = functional.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, 0]
    mean_B11 = view_BHW.mean((1, 2), keepdim=True)
    gain_B11 = (1 + config.gain * draws_B6[:, 4])[:, None, None]
    contrast_B11 = (1 + config.contrast * draws_B6[:, 5])[:, None, None]
    return (((view_BHW - mean_B11) * contrast_B11 + mean_B11) * gain_B11).clamp_(0, 1)


def plain(pixels_BSS: "torch.Tensor", size: int) -> "torch.Tensor":
    """Return float32 (B, size, size) in [0, 1], unchanged but for the size: what validation sees."""
    from torch.nn import functional

    x = pixels_BSS.float().div_(255)
    if x.shape[-1] == size:
        return x
    return functional.interpolate(x[:, None], (size, size), mode="bicubic", antialias=True, align_corners=False)[
        :, 0
    ].clamp_(0, 1)
