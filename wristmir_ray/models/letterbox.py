"""What stands around a detector network: letterbox before it, non-maximum suppression behind it.

The training images pass through the same `resize_longer_side`, so that a network sees at run time
what it saw when it was trained.
"""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.imaging.crop import resize_longer_side, square_offset

FILL = 114
"""Grey of the padding: the value that the trainer (Ultralytics) pads with."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in the network's square input."""

    left_px: int
    top_px: int
    scale_x: float
    """Letterboxed pixels a source pixel, along x."""
    scale_y: float

    def to_source(self, boxes: np.ndarray) -> np.ndarray:
        """Return float64 (N, 4) xyxy in source pixels of boxes in letterboxed pixels."""
        offset = np.array([self.left_px, self.top_px] * 2, np.float64)
        scale = np.array([self.scale_x, self.scale_y] * 2, np.float64)
        return np.asarray((boxes - offset) / scale)


def letterbox(gray: np.ndarray, side_px: int) -> tuple[np.ndarray, Letterbox]:
    """Return the image in the middle of a square, and where it lies in it.

    Args:
        gray: uint8 (H, W).
        side_px: side of the square.

    Returns:
        uint8 (side_px, side_px), the longer side filled, grey 114 beside it; its geometry.
    """
    small = resize_longer_side(gray, side_px)
    rows, cols = small.shape
    top, left = square_offset(rows, cols)
    square = np.full((side_px, side_px), FILL, np.uint8)
    square[top : top + rows, left : left + cols] = small
    return square, Letterbox(left, top, cols / gray.shape[1], rows / gray.shape[0])


def network_input(squares: np.ndarray) -> np.ndarray:
    """Return float32 (B, 3, S, S) in [0, 1] of uint8 (B, S, S) squares: grey in all three channels."""
    unit = squares.astype(np.float32)[:, None] / 255.0
    return np.ascontiguousarray(np.broadcast_to(unit, (len(squares), 3, *squares.shape[1:])))


def corners(centres: np.ndarray) -> np.ndarray:
    """Return xyxy (N, 4) of boxes given as centre x, centre y, width, height (N, 4)."""
    half = centres[:, 2:] / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1)


def iou_matrix(boxes_A: np.ndarray, boxes_B: np.ndarray) -> np.ndarray:
    """Return float64 (A, B): intersection over union of xyxy boxes (A, 4) and (B, 4); 0 for empty ones."""
    low = np.maximum(boxes_A[:, None, :2], boxes_B[None, :, :2])
    high = np.minimum(boxes_A[:, None, 2:], boxes_B[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    area_A = np.clip(boxes_A[:, 2:] - boxes_A[:, :2], 0, None).prod(axis=1)
    area_B = np.clip(boxes_B[:, 2:] - boxes_B[:, :2], 0, None).prod(axis=1)
    union = area_A[:, None] + area_B[None, :] - inside
    return np.asarray(np.divide(inside, union, out=np.zeros(inside.shape), where=union > 0), np.float64)


def suppress(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Return the indices that greedy non-maximum suppression keeps, best score first.

    Args:
        boxes: (N, 4) xyxy of one class.
        scores: (N,); equal scores keep their order.
        iou_threshold: a box that overlaps a kept one by more is dropped.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) < 2:
        return np.asarray(order)
    overlaps = iou_matrix(boxes[order], boxes[order]) > iou_threshold
    alive = np.ones(len(order), bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~overlaps[i, i + 1 :]
    return np.asarray(order[alive])
