"""What stands around a detector network: letterbox before it, non-maximum suppression behind it.

The training images pass through the same `resize_longer_side`, so that a network sees at run time
what it saw when it was trained.
"""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.imaging.crop import resize_longer_side

FILL = 114
"""Grey of the padding: the value that the trainer (Ultralytics) pads with."""
STRIDE = 32
"""Source pixels a cell of the network's coarsest map, px: what each side of its input is a multiple of."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where an image lies in the network's input."""

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


def widths(side_px: int) -> range:
    """Return the widths, px, that an upright image is padded to: multiples of STRIDE from half of a square on."""
    return range(-(-side_px // 2 // STRIDE) * STRIDE, side_px + 1, STRIDE)


def letterbox(gray: np.ndarray, side_px: int, square: bool = True) -> tuple[np.ndarray, Letterbox]:
    """Return the image in the middle of a grey canvas, and where it lies in it.

    Args:
        gray: uint8 (H, W).
        side_px: what the longer side is resized to.
        square: pad the shorter side to as much; else an upright image's width to the next of `widths` alone.

    Returns:
        uint8 (side_px, W), W of `widths`, grey 114 beside the image; its geometry.
    """
    small = resize_longer_side(gray, side_px)
    rows, cols = small.shape
    width = side_px if square or rows < side_px else next(w for w in widths(side_px) if w >= cols)
    top, left = (side_px - rows) // 2, (width - cols) // 2
    canvas = np.full((side_px, width), FILL, np.uint8)
    canvas[top : top + rows, left : left + cols] = small
    return canvas, Letterbox(left, top, cols / gray.shape[1], rows / gray.shape[0])


def network_input(canvases: np.ndarray) -> np.ndarray:
    """Return float32 (B, 3, H, W) in [0, 1] of uint8 (B, H, W): grey in all three channels."""
    unit = canvases.astype(np.float32)[:, None] / 255.0
    return np.ascontiguousarray(np.broadcast_to(unit, (len(canvases), 3, *canvases.shape[1:])))


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
