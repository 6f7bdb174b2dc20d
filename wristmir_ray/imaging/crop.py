"""Geometry of crops: cut, pad to a square, resize, store without loss."""

import json
import math

import cv2
import numpy as np

from wristmir_ray import keys
from wristmir_ray.anatomy import Box
from wristmir_ray.config import Section


def crop_bounds(box: Box, rows: int, cols: int, margin: float) -> Box:
    """Return the whole-pixel box that `crop` cuts.

    The box grows by `margin` times its width (height) on the left and right (top and bottom), is
    rounded outwards to whole pixels and clipped to the image.

    Args:
        box: in pixels of the image.
        rows, cols: size of the image.
        margin: share of the box's side, >= 0.

    Raises:
        ValueError: the box is not finite, or shows nothing of the image.
    """
    values = (box.x0_px, box.y0_px, box.x1_px, box.y1_px)
    if not all(map(math.isfinite, values)) or box.width_px <= 0 or box.height_px <= 0 or margin < 0:
        raise ValueError("a box to crop must be finite and hold pixels, its margin must not be negative")
    dx, dy = margin * box.width_px, margin * box.height_px
    grown = Box(box.x0_px - dx, box.y0_px - dy, box.x1_px + dx, box.y1_px + dy).clip(rows, cols)
    out = Box(math.floor(grown.x0_px), math.floor(grown.y0_px), math.ceil(grown.x1_px), math.ceil(grown.y1_px))
    if out.width_px < 1 or out.height_px < 1:
        raise ValueError("the box lies outside the image")
    return out


def crop(gray: np.ndarray, box: Box, margin: float) -> np.ndarray:
    """Return the part of the image in the box, grown by `margin`; see `crop_bounds`.

    Args:
        gray: uint8 (H, W).
        box: in pixels of `gray`.
        margin: share of the box's side that is added on each side, >= 0.

    Returns:
        uint8 (h, w), contiguous, 1 <= h <= H and 1 <= w <= W; aspect ratio untouched.

    Raises:
        ValueError: the box is not finite, or shows nothing of the image.
    """
    b = crop_bounds(box, gray.shape[0], gray.shape[1], margin)
    return np.ascontiguousarray(gray[int(b.y0_px) : int(b.y1_px), int(b.x0_px) : int(b.x1_px)])


def square_offset(rows: int, cols: int) -> tuple[int, int]:
    """Return (top, left): where `pad_square` puts the first pixel of a rows x cols image."""
    side = max(rows, cols)
    return (side - rows) // 2, (side - cols) // 2


def pad_square(gray: np.ndarray) -> np.ndarray:
    """Return uint8 (S, S), S = max(H, W): the image in the middle, zeros beside it (WristMIR §2.2)."""
    rows, cols = gray.shape
    side = max(rows, cols)
    top, left = square_offset(rows, cols)
    out = np.zeros((side, side), np.uint8)
    out[top : top + rows, left : left + cols] = gray
    return out


def resize(gray: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Return uint8 (rows, cols): area means when shrinking, bicubic when enlarging."""
    if gray.shape == (rows, cols):
        return gray
    shrinks = rows * cols < gray.shape[0] * gray.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(gray, (cols, rows), interpolation=method), np.uint8)


def resize_longer_side(gray: np.ndarray, side_px: int) -> np.ndarray:
    """Return the image with its longer side `side_px` long, aspect ratio kept, sides at least 1 px."""
    scale = side_px / max(gray.shape)
    return resize(gray, max(1, round(gray.shape[0] * scale)), max(1, round(gray.shape[1] * scale)))


def encode_png(gray: np.ndarray) -> bytes:
    """Return the image as lossless 8-bit grey PNG (the default compression is the fastest one)."""
    done, buffer = cv2.imencode(".png", gray)
    if not done:
        raise ValueError("not an image that PNG can hold")
    return bytes(buffer)


def decode_png(png: bytes) -> np.ndarray:
    """Return uint8 (H, W) of a PNG made by `encode_png`; ValueError when it is none."""
    gray = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if gray is None:
        raise ValueError("not a PNG")
    return np.asarray(gray, np.uint8)


def preprocess_version(*sections: Section) -> str:
    """Return a short hash of the settings that shape crops: equal hashes, comparable crops."""
    text = json.dumps([s.model_dump(mode="json") for s in sections], sort_keys=True)
    return keys.digest("preprocess", text)[:16]
