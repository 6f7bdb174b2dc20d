"""Which exams a detector learns from, and how their pixels lie on disk for the trainer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import BONES, Box, Region, Split
from wristmir_ray.detection.config import DetectionConfig, Target
from wristmir_ray.detection.labels import Label, read_labels, stem
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.schemas import EXAMS
from wristmir_ray.tables import Table

CLASSES: Mapping[Target, tuple[Region, ...]] = {"roi": (Region.WRIST,), "bones": BONES}
"""Each detector's classes, in the order of its scores."""

EXTRA = ("empty", "pair")
"""Further pictures, made from the exam's, that the wrist detector learns from."""

_SAMPLE = pa.struct(
    [
        ("png", pa.binary()),
        ("classes", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.float32())),
    ]
)

SAMPLES = Table(
    "samples",
    ("exam_id",),
    pa.schema(
        [
            ("exam_id", pa.string()),
            ("split", pa.string()),
            ("roi", _SAMPLE),
            ("bones", _SAMPLE),
            ("empty", _SAMPLE),
            ("pair", _SAMPLE),
            ("error", pa.string()),
            ("error_stage", pa.string()),
            ("error_message", pa.string()),
        ]
    ),
)
"""A row is one exam as training sees it; never published. `boxes` is flat: centre x, centre y, width,
height a box, as shares of the image's sides (the trainer's label format). `empty` shows no wrist, `pair`
two: both are for the wrist detector's training."""


def choose_exams(config: DetectionConfig) -> pa.Table:
    """Return the exams to learn from.

    Columns: exam_id, source_uri, pixel_id, split, boxes (region, corners, whether in shares), targets.

    Good exams of the train and val splits whose `source_uri` ends in a file of the boxes table; of
    each split a fixed random part (by hash of seed and exam id, so that an archive gives the same
    detectors wherever it lies), at most `train_images`, `val_images`.

    Raises:
        NotPublished: no EXAMS. ConfigError: no boxes, or a split has none.
    """
    boxes = _by_file(read_labels(config.boxes, config.classes))
    exams = storage.read_table(config.root, EXAMS, columns=["exam_id", "source_uri", "pixel_id", "split"]).to_pylist()
    limits = {Split.TRAIN: config.train_images, Split.VAL: config.val_images}
    chosen = []
    for split, limit in limits.items():
        known = [e | {"boxes": b} for e in exams if e["split"] == split and (b := _of(e["source_uri"], boxes))]
        if not known:
            raise ConfigError(f"no exam of the {split} split has a box in {config.boxes}: its `file` must end a source")
        drawn = sorted(known, key=lambda e: keys.digest(str(config.seed), e["exam_id"]))[:limit]
        chosen += [e | {"targets": _learners(config, split, i)} for i, e in enumerate(drawn)]
    return pa.Table.from_pylist(chosen)


def _learners(config: DetectionConfig, split: Split, place: int) -> list[Target]:
    """Return the detectors that learn from, or are judged on, the exam in this place of its split."""
    return [
        target.target
        for target in (config.roi, config.bones)
        if split is not Split.TRAIN or target.train_images is None or place < target.train_images
    ]


_Boxes = list[dict[str, object]]


def _by_file(labels: Sequence[Label]) -> dict[str, _Boxes]:
    out: dict[str, _Boxes] = {}
    for label in labels:
        x0, y0, x1, y1 = label.corners
        row: dict[str, object] = {
            "region": label.region.value,
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "shares": label.shares,
        }
        out.setdefault(label.file.replace("\\", "/").removeprefix("./"), []).append(row)
    return out


def _of(uri: str, boxes: Mapping[str, _Boxes]) -> _Boxes | None:
    """Return the boxes of the image at `uri`: the shortest end of its path that has any, with extension or without."""
    parts = uri.split("/")
    ends = ("/".join(parts[-n:]) for n in range(1, len(parts) + 1))
    return next((boxes[n] for end in ends for n in (end, stem(end)) if n in boxes), None)


def write_yolo(samples: pa.Table, target: Target, folder: Path) -> Path:
    """Write one target's samples as a YOLO data set; return its description file.

    Args:
        samples: SAMPLES without rejects.
        target: whose images and labels.
        folder: an empty folder.
    """
    for split in (Split.TRAIN, Split.VAL):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
    for row in samples.to_pylist():
        made = {"": row[target], **({f"-{kind}": row[kind] for kind in EXTRA} if target == "roi" else {})}
        for end, sample in made.items():
            if sample is not None:
                _write_sample(folder, row["split"], f"{row['exam_id']}{end}", sample)
    description = folder / "data.yaml"
    names = "\n".join(f"  {i}: {region}" for i, region in enumerate(CLASSES[target]))
    description.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return description


def _write_sample(folder: Path, split: str, name: str, sample: Mapping[str, Any]) -> None:
    (folder / "images" / split / f"{name}.png").write_bytes(sample["png"])
    numbers = np.asarray(sample["boxes"], float).reshape(-1, 4)
    lines = [f"{c} {' '.join(f'{v:.6f}' for v in box)}" for c, box in zip(sample["classes"], numbers, strict=True)]
    (folder / "labels" / split / f"{name}.txt").write_text("\n".join(lines))


def images_and_truth(
    samples: pa.Table, target: Target, split: Split
) -> tuple[list[np.ndarray], list[dict[Region, list[Box]]]]:
    """Return one split's images (uint8) and their true boxes in pixels."""
    images, truth = [], []
    for row in samples.to_pylist():
        if row["split"] == split and row[target] is not None:
            gray = decode_png(row[target]["png"])
            images.append(gray)
            truth.append(_true_boxes(row[target], CLASSES[target], gray.shape[0], gray.shape[1]))
    return images, truth


def _true_boxes(
    sample: Mapping[str, object], classes: Sequence[Region], rows: int, cols: int
) -> dict[Region, list[Box]]:
    out: dict[Region, list[Box]] = {}
    shares = np.asarray(sample["boxes"], float).reshape(-1, 4)
    for index, (x, y, w, h) in zip(np.asarray(sample["classes"], int), shares, strict=True):
        box = Box((x - w / 2) * cols, (y - h / 2) * rows, (x + w / 2) * cols, (y + h / 2) * rows)
        out.setdefault(classes[index], []).append(box)
    return out
