"""Detectors: an image in, scored boxes out. The network is an ONNX file; no pickle is read.

A published detector is two files: `model.onnx` (output (B, 4 + classes, N): centre x, centre y,
width, height in letterboxed pixels, then a probability a class) and `detector.json` (DetectorSpec).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol, Self

import numpy as np

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.letterbox import corners, letterbox, network_input, suppress
from wristmir_ray.models.networks import EXACT, RuntimeConfig, open_network, run_padded

MODEL_FILE = "model.onnx"
SPEC_FILE = "detector.json"
ROI_DETECTOR = "roi_detector"
BONE_DETECTOR = "bone_detector"
MAX_CANDIDATES = 256
"""Boxes a class that enter suppression: a wrist has one of each, so this only bounds the cost."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One found region."""

    region: Region
    box: Box
    """In pixels of the image that was given, inside it."""
    score: float


class Detector(Protocol):
    """Finds regions in images."""

    digest: str
    """Identifies weights and run-time settings."""
    typical_scores: Mapping[Region, float]
    """What a true box of a class scores, in the median of the validation images: how sure it is when it is sure."""

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """Return each image's detections, best score first.

        Args:
            images: uint8 (H, W) each, of any size.
        """
        ...


@dataclass(frozen=True)
class DetectorSpec:
    """What a network needs around it at run time."""

    classes: tuple[Region, ...]
    """In the order of the network's class scores."""
    image_size: int
    """The longer side of the network's input, px."""
    score_thresholds: tuple[float, ...]
    """One a class: boxes below it are not reported."""
    iou_threshold: float
    """Of suppression, within a class."""
    typical_scores: tuple[float, ...] = ()
    """One a class: median score of true boxes in validation; empty where it was not measured."""
    digest: str = ""

    def sealed(self, model: bytes) -> Self:
        """Return the spec with the digest of itself and the network."""
        return replace(self, digest=keys.digest(model, replace(self, digest="").to_json()))

    def to_json(self) -> str:
        values = asdict(self)
        if not self.typical_scores:  # a detector of before they were measured keeps its digest
            del values["typical_scores"]
        return json.dumps(values, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        values = json.loads(text)
        lists = {
            "classes": tuple(map(Region, values["classes"])),
            "score_thresholds": tuple(values["score_thresholds"]),
            "typical_scores": tuple(values.get("typical_scores", ())),
        }
        return cls(**{**values, **lists})


class OnnxDetector:
    """A detector whose network is an ONNX file; boxes are letterboxed and suppressed by our own code."""

    def __init__(self, model: bytes, spec: DetectorSpec, runtime: RuntimeConfig = EXACT) -> None:
        self._network = open_network(model, spec.image_size, runtime)
        self._batch_size = runtime.batch_size
        self._square = runtime.padding == "square"
        self.spec = spec
        self.digest = spec.digest
        self.typical_scores: Mapping[Region, float] = dict(
            zip(spec.classes, spec.typical_scores or [1.0] * len(spec.classes), strict=True)
        )

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """Return each image's detections, best score first; the network sees `batch_size` images at a time."""
        found: list[list[Detection]] = []
        for start in range(0, len(images), self._batch_size):
            found += self._detect(images[start : start + self._batch_size])
        return found

    def _detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        boxed = (letterbox(image, self.spec.image_size, self._square) for image in images)
        canvases, places = zip(*boxed, strict=True)
        output = run_padded(self._network, network_input(np.stack(canvases)), self._batch_size)
        lowest = np.array(self.spec.score_thresholds, np.float32)[:, None]
        found = []
        for image, place, of_image in zip(images, places, output, strict=True):
            seen = of_image[:, np.flatnonzero((of_image[4:] >= lowest).any(axis=0))]  # a hundredth of what it says
            boxes = place.to_source(corners(seen[:4].T.astype(np.float64)))
            found.append(read_output(boxes, seen[4:], self.spec, *image.shape))
        return found


def warm_up(detector: Detector) -> None:
    """Have a detector do now what its back end does once an image size, for upright radiographs and others."""
    for cols in range(256, 513, 16):
        detector.detect([np.zeros((512, cols), np.uint8)])


def read_output(boxes: np.ndarray, scores: np.ndarray, spec: DetectorSpec, rows: int, cols: int) -> list[Detection]:
    """Return what a network's raw output says, best score first.

    Args:
        boxes: (N, 4) xyxy in source pixels.
        scores: (classes, N) probabilities; NaN counts as not found.
        spec: thresholds and class names.
        rows, cols: size of the source image; boxes are clipped to it, those outside dropped.
    """
    found = []
    for region, lowest, of_class in zip(spec.classes, spec.score_thresholds, scores, strict=True):
        candidates = np.flatnonzero(of_class >= lowest)
        top = candidates[np.argsort(-of_class[candidates], kind="stable")[:MAX_CANDIDATES]]
        kept = top[suppress(boxes[top], of_class[top], spec.iou_threshold)]
        for i in kept:  # float32, as tables keep boxes: what is cut by a stored box is cut alike to the pixel
            box = Box(*(float(v) for v in boxes[i].astype(np.float32))).clip(rows, cols)
            if box.width_px > 0 and box.height_px > 0:
                found.append(Detection(region, box, float(of_class[i])))
    return sorted(found, key=lambda d: -d.score)


def load_detector(root: str, name: str, run_id: str | None = None, runtime: RuntimeConfig = EXACT) -> OnnxDetector:
    """Return a published detector.

    Args:
        root: folder or s3:// prefix.
        name: roi_detector or bone_detector.
        run_id: pinned run; default the current one.
        runtime: what its network runs on.

    Raises:
        NotPublished: there is none.
        ConfigError: network and description are not of one training, or this machine lacks the back end.
    """
    folder = storage.run_uri(root, name, storage.published(root, name, run_id).run_id)
    model = storage.read_bytes(storage.join(folder, MODEL_FILE))
    spec = DetectorSpec.from_json(storage.read_bytes(storage.join(folder, SPEC_FILE)))
    if spec.sealed(model).digest != spec.digest:
        raise ConfigError(f"{MODEL_FILE} and {SPEC_FILE} of '{name}' do not belong together; train it again")
    return OnnxDetector(model, spec, runtime)
