"""What a trained detector leaves to look at: Table 8, precision-recall curves, its worst images (WristMIR App. G)."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.detection.metrics import Truth, best_of_each, rank
from wristmir_ray.models.detector import Detection

TABLE_FILE, CURVES_FILE, WORST_FILE = "table8.md", "pr_curves.png", "worst.png"
PAPER: Mapping[str, tuple[float, float, float | None, float | None]] = {
    Region.WRIST: (0.991, 0.975, None, None),
    Region.DISTAL_RADIUS: (0.977, 1.000, 0.988, 0.995),
    Region.DISTAL_ULNA: (0.933, 1.000, 0.967, 0.995),
    Region.ULNAR_STYLOID: (0.933, 1.000, 0.967, 0.995),
}
"""Precision, recall, F1, mAP50 of the paper's own images (WristMIR §2.2, Table 8): other data, for orientation."""
_TILE_PX, _ACROSS, _SHOWN = 256, 6, 24
_FOUND, _TRUE = (80, 220, 90), (60, 60, 255)


def table8(regions: Mapping[str, Mapping[str, float]], agreement: Mapping[str, float], images: int) -> str:
    """Return the paper's Table 8 as Markdown, its figures beside ours.

    Args:
        regions: figures by region, as `metrics.score` gives them.
        agreement: with the trainer's own predictions.
        images: validation images.
    """
    lines = [
        f"# Detector on {images} validation images",
        "",
        "Best box of each image at the threshold of the run. The paper's figures are of other data.",
        "",
        "| region | boxes | precision | recall | F1 | mAP50 | paper: precision | recall | F1 | mAP50 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, figures in regions.items():
        ours = [_number(figures[n]) for n in ("precision", "recall", "f1", "map50")]
        paper = [_number(v) for v in PAPER.get(name, (None,) * 4)]
        lines.append(f"| {' | '.join([name.replace('_', ' '), str(int(figures['boxes'])), *ours, *paper])} |")
    lines += [
        "",
        f"Run time against the trainer's own predictions on {agreement['images']:.0f} images: "
        f"scores differ by at most {agreement['score']:.2g}, "
        f"edges by {agreement['edge_px']:.2g} px of the network's input.",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


def curves(found: Sequence[Sequence[Detection]], truth: Sequence[Truth], regions: Sequence[Region]) -> bytes:
    """Return the precision-recall curves at IoU 0.5 as PNG.

    Args:
        found: an image's detections each, down to a score near zero.
        truth: the same images' true boxes.
        regions: what the detector knows.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes: Any = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.03))
    for region in regions:
        ranked = rank(found, truth, region)
        if ranked.num_truth:
            true = np.cumsum(ranked.hits)
            axes.plot(true / ranked.num_truth, true / np.arange(1, len(true) + 1), label=region.replace("_", " "))
    axes.legend(loc="lower left")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()


def worst(
    images: Sequence[np.ndarray],
    found: Sequence[Sequence[Detection]],
    truth: Sequence[Truth],
    thresholds: Mapping[Region, float],
) -> bytes:
    """Return a PNG of the images whose worst box overlaps its truth least: found green, true red.

    A box that is missing, or that is found where there is none, overlaps by 0.

    Args:
        images: uint8 (H, W) each.
        found: their detections.
        truth: their true boxes.
        thresholds: score from which a region's best box counts.
    """
    taken = [[d for d in best if d.score >= thresholds[d.region]] for best in best_of_each(found)]
    order = sorted(range(len(images)), key=lambda i: _lowest(taken[i], truth[i]))[:_SHOWN]
    tiles = [_tile(images[i], taken[i], truth[i]) for i in order]
    tiles += [np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)] * (-len(tiles) % _ACROSS)
    rows = [np.hstack(tiles[i : i + _ACROSS]) for i in range(0, len(tiles), _ACROSS)]
    return bytes(cv2.imencode(".png", np.vstack(rows))[1])


def _lowest(taken: Sequence[Detection], truth: Truth) -> float:
    """Return the least overlap of an image: of each true box with its detection, 0 for one too many or too few."""
    of = {d.region: d.box for d in taken}
    named = [r for r, boxes in truth.items() if boxes]
    overlaps = [max(b.iou(of[r]) for b in truth[r]) if r in of else 0.0 for r in named]
    return min([*overlaps, *(0.0 for r in of if r not in named)], default=1.0)


def _tile(image: np.ndarray, taken: Sequence[Detection], truth: Truth) -> np.ndarray:
    scale = _TILE_PX / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR)
    for box in (b for boxes in truth.values() for b in boxes):
        _draw(canvas, box, scale, _TRUE)
    for d in taken:
        _draw(canvas, d.box, scale, _FOUND)
    out = np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)
    out[: canvas.shape[0], : canvas.shape[1]] = canvas
    return out


def _draw(canvas: np.ndarray, box: Box, scale: float, colour: tuple[int, int, int]) -> None:
    low = (round(box.x0_px * scale), round(box.y0_px * scale))
    cv2.rectangle(canvas, low, (round(box.x1_px * scale), round(box.y1_px * scale)), colour, 1)
