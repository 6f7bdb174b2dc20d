"""Detectors that find bright rectangles, or say what they are told."""

from collections.abc import Sequence

import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.models.detector import Detection
from wristmir_ray.models.networks import EXACT, RuntimeConfig


class Told:
    """Answers the same detections for every image; remembers what it was shown."""

    def __init__(self, *detections: Detection) -> None:
        self.digest = "told"
        self.typical_scores = dict.fromkeys(Region, 1.0)
        self.seen: list[np.ndarray] = []
        self._detections = list(detections)

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        self.seen += list(images)
        return [self._detections for _ in images]


class Shares:
    """Answers boxes at fixed shares of the image's sides; a dark image (mean below 20) shows nothing."""

    def __init__(self, shares: dict[Region, tuple[float, float, float, float]]) -> None:
        self.digest = "shares"
        self.typical_scores = dict.fromkeys(Region, 1.0)
        self._shares = shares

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        return [[] if image.mean() < 20 else self._boxes(*image.shape) for image in images]

    def _boxes(self, rows: int, cols: int) -> list[Detection]:
        scale = np.array([cols, rows, cols, rows])
        return [Detection(r, Box(*(float(v) for v in np.array(s) * scale)), 0.9) for r, s in self._shares.items()]


def fake_load(root: str, name: str, run_id: str, runtime: RuntimeConfig = EXACT) -> Shares:
    """Stands for `load_detector`: a wrist in the middle, in it a radius and an ulna but no styloid."""
    if name == "roi_detector":
        return Shares({Region.WRIST: (0.2, 0.1, 0.8, 0.9)})
    return Shares({Region.DISTAL_RADIUS: (0.1, 0.4, 0.5, 0.9), Region.DISTAL_ULNA: (0.6, 0.4, 0.9, 0.9)})
