"""What files go through before they reach an archive: noise, scaling, straightening, windows, JPEG."""

import cv2
import numpy as np

from wristmir_ray.phantom.render import FULL


def worn(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return pixels after some mishaps (12 or 8 bits), and which.

    Args:
        pixels: uint16 (rows, cols) of 12 bits.
        rng: decides everything.
    """
    done = []
    if rng.random() < 0.2:
        noise = rng.normal(0, rng.uniform(0.004, 0.016) * FULL, pixels.shape)
        pixels = np.clip(pixels + noise, 0, FULL).astype(np.uint16)
        done.append("noise")
    if rng.random() < 0.25:
        factor = rng.uniform(0.85, 1.35)
        how = cv2.INTER_AREA if factor < 1 else int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
        pixels = np.minimum(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=how), FULL)
        done.append("scaled")
    if rng.random() < 0.12:
        pixels = _turned(pixels, rng)
        done.append("turned")
    if rng.random() < 0.4:
        pixels = _eight_bits(pixels, rng)
        done.append("8 bits")
        if rng.random() < 0.75:
            quality = int(rng.integers(55, 96))
            pixels = cv2.imdecode(
                cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_UNCHANGED
            )
            done.append("jpeg")
    if rng.random() < 0.25:
        pixels = (FULL if pixels.dtype == np.uint16 else 255) - pixels
        done.append("inverted")
    return np.ascontiguousarray(pixels), done


def _turned(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the pixels straightened by up to three degrees, whole, black beyond the old border."""
    rows, cols = pixels.shape
    turn = cv2.getRotationMatrix2D((cols / 2, rows / 2), rng.uniform(-3, 3), 0.93)
    how = int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_LINEAR]))
    return np.asarray(cv2.warpAffine(pixels, turn, (cols, rows), flags=how))


def _eight_bits(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 pixels behind a window that clips little, and a tone curve."""
    low, high = np.percentile(pixels[::4, ::4], (rng.uniform(0, 0.5), rng.uniform(99.5, 100)))
    share = np.clip((pixels - low) / max(high - low, 1), 0, 1) ** rng.uniform(0.7, 1.4)
    return np.asarray(np.round(share * 255), np.uint8)
