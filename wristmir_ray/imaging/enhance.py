"""Contrast and edges: the one enhancement of training, indexing and queries (WristMIR §2.2)."""

import cv2
import numpy as np

from wristmir_ray.imaging.config import EnhanceConfig

cv2.setNumThreads(1)  # a worker or replica owns one core


def enhance(gray: np.ndarray, config: EnhanceConfig) -> np.ndarray:
    """Return the image after CLAHE, then unsharp masking.

    sharp = clahe + amount * (clahe - blur_sigma(clahe)), saturated to [0, 255].

    Args:
        gray: uint8 (H, W), already windowed (CLAHE on 16 bit costs 25 times as much).
        config: clip limit, tiles, sigma and amount.

    Returns:
        uint8 (H, W).

    References:
        WristMIR §2.2 (the steps; the parameters are ours, see EnhanceConfig).
    """
    grid = (config.clahe_grid, config.clahe_grid)
    flat = cv2.createCLAHE(clipLimit=config.clahe_clip_limit, tileGridSize=grid).apply(gray)
    if config.unsharp_amount == 0:
        return np.asarray(flat, np.uint8)
    blurred = cv2.GaussianBlur(flat, (0, 0), config.unsharp_sigma_px, borderType=cv2.BORDER_REPLICATE)
    sharp = cv2.addWeighted(flat, 1.0 + config.unsharp_amount, blurred, -config.unsharp_amount, 0.0)
    return np.asarray(sharp, np.uint8)
