"""Turns exams with true boxes into training samples: pixels exactly as the run-time pipeline makes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import keys
from wristmir_ray.anatomy import Box, Region, Split
from wristmir_ray.detection.config import DetectionConfig, Target
from wristmir_ray.detection.dataset import CLASSES, EXTRA, SAMPLES
from wristmir_ray.errors import reject_columns
from wristmir_ray.imaging.crop import crop, crop_bounds, encode_png, resize, resize_longer_side
from wristmir_ray.imaging.decode import decode
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.sources import read_source
from wristmir_ray.tables import conform

STAGE = "train_detector"
LEAST_ROWS = 60
"""Of a hand or a forearm that is a picture at all."""
PAIR_SMALLER, PAIR_GAP = 0.3, 0.15
"""How much smaller one wrist of a pair may be, and how far apart they lie at most, shares of the other's image."""


def prepare_samples(batch: pa.Table, *, config: DetectionConfig) -> pa.Table:
    """Decode, cut and shrink one batch of exams.

    Columns: exam_id, source_uri, pixel_id, split, boxes, targets -> SAMPLES. 1:1; null where a target takes none.
    Rejects: source_unreadable, and those of `imaging.decode`.
    """
    import cv2

    cv2.setNumThreads(1)
    return conform([_prepare(row, config) for row in batch.to_pylist()], SAMPLES)


def _prepare(row: Mapping[str, Any], config: DetectionConfig) -> dict[str, Any]:
    key = {"exam_id": row["exam_id"], "split": row["split"]}
    try:
        gray = decode(read_source(row["source_uri"]), config.decode, row["pixel_id"]).gray
        truth = [_truth(b, *gray.shape) for b in row["boxes"]]
        rng = np.random.default_rng(int(keys.digest("jitter", str(config.seed), row["exam_id"])[:12], 16))
        made = {
            "roi": sample(gray, truth, "roi", config),
            "bones": bone_sample(gray, truth, config, rng),
        }
        if row["split"] == Split.TRAIN:
            made |= {"empty": empty_sample(gray, truth, config, rng), "pair": pair_sample(gray, truth, config, rng)}
        wanted = {*row["targets"], *(EXTRA if "roi" in row["targets"] else [])}
        return {**key, **{name: value for name, value in made.items() if name in wanted}}
    except Exception as e:
        return {**key, **reject_columns(e, STAGE)}


def _truth(label: Mapping[str, Any], rows: int, cols: int) -> tuple[Region, Box]:
    across, down = (cols, rows) if label["shares"] else (1, 1)
    box = Box(label["x0"] * across, label["y0"] * down, label["x1"] * across, label["y1"] * down)
    return Region(label["region"]), box.clip(rows, cols)


def bone_sample(
    gray: np.ndarray, truth: Sequence[tuple[Region, Box]], config: DetectionConfig, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return the bones' sample: true wrist box, jittered, cut with the run-time margin, enhanced; None without wrist.

    Args:
        gray: uint8 (H, W), decoded.
        truth: true boxes in its pixels.
        config: jitter, margin, enhancement, image size.
        rng: moves the edges, so that the network learns from boxes as imprecise as found ones.
    """
    wrist = next((box for region, box in truth if region == Region.WRIST), None)
    if wrist is None:
        return None
    moved = jitter(wrist, config.roi_jitter, rng).clip(*gray.shape)
    bounds = crop_bounds(moved, gray.shape[0], gray.shape[1], config.roi_margin)
    roi = enhance(crop(gray, moved, config.roi_margin), config.enhance)
    inside = [
        (region, box.shift(-bounds.x0_px, -bounds.y0_px).clip(*roi.shape))
        for region, box in truth
        if region != Region.WRIST
    ]
    return sample(roi, inside, "bones", config)


def empty_sample(
    gray: np.ndarray, truth: Sequence[tuple[Region, Box]], config: DetectionConfig, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return what lies beside the wrist alone, the hand or the forearm, as a picture of no wrist.

    None for the exams that are not among `empty_share`, or whose wrist fills the image.

    Args:
        gray: uint8 (H, W), decoded.
        truth: true boxes in its pixels.
        config: `empty_share`, image size.
        rng: chooses the exams, and one of the two sides.
    """
    chosen, upper = rng.random(2)
    wrist = next((box for region, box in truth if region == Region.WRIST), None)
    if wrist is None or chosen >= config.empty_share:
        return None
    sides = [s for s in (gray[: int(wrist.y0_px)], gray[int(np.ceil(wrist.y1_px)) :]) if len(s) >= LEAST_ROWS]
    return sample(sides[int(upper * len(sides))], [], "roi", config) if sides else None


def pair_sample(
    gray: np.ndarray, truth: Sequence[tuple[Region, Box]], config: DetectionConfig, rng: np.random.Generator
) -> dict[str, Any] | None:
    """Return the exam beside its mirror image, as a picture of both wrists; None for exams not among `pair_share`.

    The mirror image is smaller by up to PAIR_SMALLER, stands at any height, and on either side.

    Args:
        gray: uint8 (H, W), decoded.
        truth: true boxes in its pixels.
        config: `pair_share`, image size.
        rng: chooses the exams, size, height, gap and side.
    """
    chosen, smaller, lower, gap, swap = rng.random(5)
    wrist = next((box for region, box in truth if region == Region.WRIST), None)
    if wrist is None or chosen >= config.pair_share:
        return None
    rows, cols = gray.shape
    scale = 1 - PAIR_SMALLER * smaller
    other = resize(gray[:, ::-1], max(1, round(scale * rows)), max(1, round(scale * cols)))
    top, left = int(lower * (rows - other.shape[0])), cols + int(PAIR_GAP * gap * cols)
    both = np.zeros((rows, left + other.shape[1]), np.uint8)
    both[:, :cols] = gray
    both[top : top + other.shape[0], left:] = other
    sy, sx = other.shape[0] / rows, other.shape[1] / cols
    second = Box((cols - wrist.x1_px) * sx, wrist.y0_px * sy, (cols - wrist.x0_px) * sx, wrist.y1_px * sy)
    boxes = [wrist, second.shift(left, top)]
    if swap < 0.5:  # the mirror image of a pair is a pair
        both = both[:, ::-1]
        boxes = [Box(both.shape[1] - b.x1_px, b.y0_px, both.shape[1] - b.x0_px, b.y1_px) for b in boxes]
    return sample(both, [(Region.WRIST, b) for b in boxes], "roi", config)


def jitter(box: Box, share: float, rng: np.random.Generator) -> Box:
    """Return the box with each edge moved by up to `share` of its side, in or out."""
    x0, y0, x1, y1 = rng.uniform(-share, share, 4)
    w, h = box.width_px, box.height_px
    return Box(box.x0_px + x0 * w, box.y0_px + y0 * h, box.x1_px + x1 * w, box.y1_px + y1 * h)


def sample(
    gray: np.ndarray, truth: Sequence[tuple[Region, Box]], target: Target, config: DetectionConfig
) -> dict[str, Any]:
    """Return one training sample: the image at the network's size as PNG, its labels as shares of its sides.

    Args:
        gray: uint8 (H, W): what the detector will be given.
        truth: true boxes in its pixels; other targets' and empty ones are left out.
        target: whose classes and image size.
        config: image sizes.
    """
    size = (config.roi if target == "roi" else config.bones).image_size
    classes, boxes = [], []
    for region, box in truth:
        if region in CLASSES[target] and box.width_px >= 1 and box.height_px >= 1:
            rows, cols = gray.shape
            classes.append(CLASSES[target].index(region))
            boxes += [
                (box.x0_px + box.x1_px) / 2 / cols,
                (box.y0_px + box.y1_px) / 2 / rows,
                box.width_px / cols,
                box.height_px / rows,
            ]
    return {"png": encode_png(resize_longer_side(gray, size)), "classes": classes, "boxes": boxes}
