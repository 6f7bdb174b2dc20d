"""Masks of things to lay on a radiograph."""

import cv2
import numpy as np

SUB = 16
"""Sub-pixels of points (4 bits)."""
_REACH = 8
"""Pixels that a blur carries, at most."""


def lay(grey: np.ndarray, mask: np.ndarray, rng: np.random.Generator, level: float, blur: float = 0.0) -> np.ndarray:
    """Return the grey under something dense of uint8 coverage: blurred as by a focal spot, with quantum noise."""
    x, y, w, h = cv2.boundingRect(mask)
    near = (slice(max(y - _REACH, 0), y + h + _REACH), slice(max(x - _REACH, 0), x + w + _REACH))
    share = cv2.GaussianBlur(mask[near], (0, 0), blur or rng.uniform(0.6, 1.3)).astype(np.float32) / 255
    bright = np.maximum(grey[near], level) + rng.normal(0, 0.006, share.shape).astype(np.float32)
    out = np.array(grey, np.float32)
    out[near] += share * (bright - out[near])
    return out


def empty(grey: np.ndarray) -> np.ndarray:
    """Return a mask of the grey's size, with nothing on it."""
    return np.zeros(grey.shape, np.uint8)


def fixed(points: np.ndarray) -> np.ndarray:
    """Return points as OpenCV wants them for a shift of four bits."""
    return np.asarray(np.round(points * SUB), np.int32)


def line(mask: np.ndarray, points: np.ndarray, width: float, value: int = 255) -> None:
    """Draw a line through points, with smooth edges."""
    cv2.polylines(mask, [fixed(points)], False, value, max(round(width), 1), cv2.LINE_AA, 4)


def spot(grey: np.ndarray, rng: np.random.Generator, low: float = 0.15, high: float = 0.85) -> np.ndarray:
    """Return a point (x, y)."""
    return np.array([rng.uniform(low, high) * grey.shape[1], rng.uniform(low, high) * grey.shape[0]])


def turned(mask: np.ndarray, degrees: float) -> np.ndarray:
    """Return a mask turned about its middle, on a canvas that holds it."""
    h, w = mask.shape
    pad = int(np.hypot(h, w) / 2) + 2
    big = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    centre = (big.shape[1] / 2, big.shape[0] / 2)
    return np.asarray(cv2.warpAffine(big, cv2.getRotationMatrix2D(centre, degrees, 1), big.shape[::-1]))


def paste(canvas: np.ndarray, mask: np.ndarray, at: np.ndarray) -> None:
    """Write a mask into the canvas around a point, what is outside is lost."""
    x, y = (int(v) for v in at - np.array(mask.shape[::-1]) / 2)
    x0, y0 = max(x, 0), max(y, 0)
    x1, y1 = min(x + mask.shape[1], canvas.shape[1]), min(y + mask.shape[0], canvas.shape[0])
    if x1 > x0 and y1 > y0:
        part = canvas[y0:y1, x0:x1]
        np.maximum(part, mask[y0 - y : y1 - y, x0 - x : x1 - x], out=part)
