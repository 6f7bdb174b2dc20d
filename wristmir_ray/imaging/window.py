"""Stored pixels of any depth to the 8 bits that every later step reads."""

import cv2
import numpy as np

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig


def check_size(rows: int, cols: int, config: DecodeConfig) -> None:
    """Reject an image whose declared size is beyond the limits, before anything is allocated.

    Raises:
        Reject: image_too_large, image_too_small.
    """
    if rows * cols > config.max_pixels:
        raise Reject(ErrorCode.IMAGE_TOO_LARGE, f"{rows} x {cols} pixels declared, at most {config.max_pixels} allowed")
    if min(rows, cols) < config.min_side_px:
        raise Reject(ErrorCode.IMAGE_TOO_SMALL, f"{rows} x {cols} pixels, each side must have {config.min_side_px}")


def check_contrast(stored: np.ndarray) -> None:
    """Reject an image whose pixels are all equal.

    Raises:
        Reject: no_contrast.
    """
    first = stored.flat[0]
    if (stored[len(stored) // 2] == first).all() and (stored == first).all():
        raise Reject(ErrorCode.NO_CONTRAST, "every pixel has the same value")


def percentile_bounds(values: np.ndarray, config: DecodeConfig) -> tuple[float, float]:
    """Return (low, high), low < high: the values that become black and white where no window is declared.

    Percentiles of every n-th row and column; where those coincide (a small bright object on a flat
    ground), the extremes of all pixels.

    Args:
        values: (H, W), or flat, of any real dtype; not all equal.
    """
    n = config.percentile_stride
    sample = values[::n, ::n] if values.ndim == 2 else values
    low, high = (float(v) for v in np.percentile(sample, (config.low_percentile, config.high_percentile)))
    return (low, high) if low < high else (float(values.min()), float(values.max()))


def to_uint8(fraction: np.ndarray) -> np.ndarray:
    """Return round(255 * fraction) as uint8, fractions clipped to [0, 1]."""
    return np.rint(np.clip(fraction, 0.0, 1.0) * 255.0).astype(np.uint8)


def window_unsigned(stored: np.ndarray, config: DecodeConfig) -> np.ndarray:
    """Return uint8 (H, W) of a uint8 or uint16 image without a declared window, through one look-up table.

    Raises:
        Reject: no_contrast.
    """
    check_contrast(stored)
    low, high = percentile_bounds(stored, config)
    levels = np.arange(np.iinfo(stored.dtype).max + 1, dtype=np.float64)
    return np.asarray(cv2.LUT(stored, to_uint8((levels - low) / (high - low))))
