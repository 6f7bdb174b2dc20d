"""How good a detector is: AP50, and precision, recall, F1 at the score it will be used with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.models.detector import Detection

Truth = Mapping[Region, Sequence[Box]]
"""One image's true boxes."""

HIT_IOU = 0.5

NEAR_BEST = 0.002
"""F1 values that differ by less are one plateau: fewer than one image in some hundred tells them apart."""
MOST_LOST = 0.02
"""Of F1, for a lower threshold: a handful of images has a large standard error."""


@dataclass(frozen=True)
class Ranked:
    """Every detection of one region over all images, best score first."""

    scores: np.ndarray
    """(N,) float64, descending."""
    hits: np.ndarray
    """(N,) bool: the detection is the first to cover a true box."""
    num_truth: int


def rank(found: Sequence[Sequence[Detection]], truth: Sequence[Truth], region: Region) -> Ranked:
    """Match detections of one region to true boxes.

    In each image the detections take, best score first, the free true box they overlap most, if
    that is by at least 0.5.

    Args:
        found: an image's detections each.
        truth: the same images' true boxes.
        region: which to match.
    """
    pairs: list[tuple[float, bool]] = []
    for detections, boxes in zip(found, truth, strict=True):
        free = list(boxes.get(region, ()))
        for d in sorted((d for d in detections if d.region == region), key=lambda d: -d.score):
            best = max(free, key=d.box.iou, default=None)
            hit = best is not None and d.box.iou(best) >= HIT_IOU
            if hit and best is not None:
                free.remove(best)
            pairs.append((d.score, hit))
    pairs.sort(key=lambda p: -p[0])
    num_truth = sum(len(boxes.get(region, ())) for boxes in truth)
    return Ranked(np.array([s for s, _ in pairs], float), np.array([h for _, h in pairs], bool), num_truth)


def typical_score(found: Sequence[Sequence[Detection]], truth: Sequence[Truth], region: Region) -> float:
    """Return the median score of a region's boxes that cover a true one; 1 where none does."""
    ranked = rank(found, truth, region)
    return float(np.median(ranked.scores[ranked.hits])) if ranked.hits.any() else 1.0


def average_precision(ranked: Ranked) -> float:
    """Return AP50: the precision envelope's mean over 101 recall levels (as COCO); NaN without true boxes."""
    if not ranked.num_truth:
        return float("nan")
    true = np.cumsum(ranked.hits)
    recall = true / ranked.num_truth
    precision = true / np.arange(1, len(true) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-9)
    return float(np.append(envelope, 0.0)[at].mean())


def at_threshold(ranked: Ranked, threshold: float) -> tuple[float, float, float]:
    """Return (precision, recall, F1) of the detections that score at least `threshold`; 0 where undefined."""
    kept = ranked.scores >= threshold
    true = int(ranked.hits[kept].sum())
    precision = true / int(kept.sum()) if kept.any() else 0.0
    recall = true / ranked.num_truth if ranked.num_truth else 0.0
    f1 = 2 * precision * recall / (precision + recall) if true else 0.0
    return precision, recall, f1


def best_of_each(found: Sequence[Sequence[Detection]]) -> list[list[Detection]]:
    """Return each image's best detection a region: a wrist has one of each, and preprocess takes one."""
    best = []
    for detections in found:
        by_region: dict[Region, Detection] = {}
        for d in sorted(detections, key=lambda d: -d.score):
            by_region.setdefault(d.region, d)
        best.append(list(by_region.values()))
    return best


def best_threshold(ranked: Ranked, low: float = 0.01, high: float = 0.9, some_absent: bool = False) -> float:
    """Return a score whose F1 is as good as the highest.

    A short training gives low scores, so that a fixed threshold would call good boxes missing. Images
    of another kind than those of validation give lower scores too (children, where phantoms were learned). So the
    lowest score is taken whose F1 is within one standard error (MOST_LOST at most) of the highest, where images
    without the region have shown what a lower threshold lets through: of a curve so flat, validation cannot tell
    where its top is. Where every image shows the region nothing has, and it is the geometric middle of the longest
    plateau within NEAR_BEST.

    Args:
        ranked: the best detection of each image.
        low, high: the range of thresholds that are tried, in 100 equal ratios.
        some_absent: whether some of the images do not show the region.

    References:
        Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984, §3.4.3 (one-standard-error rule).
    """
    tried = np.geomspace(low, high, 101)
    f1 = np.array([at_threshold(ranked, float(t))[2] for t in tried])
    if some_absent:
        error = min(f1_standard_error(ranked, float(tried[f1.argmax()])), MOST_LOST)
        return float(tried[np.argmax(f1 >= f1.max() - error)])
    best = np.flatnonzero(f1 >= f1.max() - NEAR_BEST)
    plateaus = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(plateaus, key=len)
    return float(np.sqrt(tried[longest[0]] * tried[longest[-1]]))


def f1_standard_error(ranked: Ranked, threshold: float) -> float:
    """Return the standard error of F1 at a threshold: delta method, true and false ones as Poisson counts.

    F1 = 2T / D with D = 2T + E, of T hits and E errors (false boxes and missed ones), so its standard error is
    2 sqrt(T E (T + E)) / D^2; 0 without hits.
    """
    kept = ranked.scores >= threshold
    hits = int(ranked.hits[kept].sum())
    errors = int(kept.sum()) + ranked.num_truth - 2 * hits
    return 2 * float(np.sqrt(hits * errors * (hits + errors))) / (2 * hits + errors) ** 2 if hits else 0.0


def score(
    found: Sequence[Sequence[Detection]], truth: Sequence[Truth], regions: Sequence[Region]
) -> dict[str, dict[str, float]]:
    """Return a detector's figures by region (and `overall`, their plain mean over regions that occur).

    `map50` is over every detection. `precision`, `recall` and `f1` are of the best detection of each
    image, as preprocess takes them, at `threshold`, the best one for these images.

    Args:
        found: detections down to a score near zero, so that AP50 sees the whole curve.
        truth: true boxes of the same images.
        regions: what the detector knows.
    """
    figures: dict[str, dict[str, float]] = {}
    taken = best_of_each(found)
    for region in regions:
        ranked = rank(taken, truth, region)
        threshold = best_threshold(ranked, some_absent=not all(boxes.get(region) for boxes in truth))
        precision, recall, f1 = at_threshold(ranked, threshold)
        figures[region.value] = {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "map50": average_precision(rank(found, truth, region)),
            "threshold": threshold,
            "boxes": float(ranked.num_truth),
        }
    present = [f for f in figures.values() if f["boxes"]]
    overall = {n: float(np.mean([f[n] for f in present])) for n in ("precision", "recall", "f1", "map50")}
    return {**figures, "overall": {**overall, "boxes": sum(f["boxes"] for f in present)}}
