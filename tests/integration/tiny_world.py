"""A published archive of a few synthetic exams with real (tiny, untrained) models, made in seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.models.test_detector import constant_network
from wristmir_ray import keys, storage
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png, preprocess_version
from wristmir_ray.imaging.decode import decode
from wristmir_ray.models.detector import (
    BONE_DETECTOR,
    MODEL_FILE,
    ROI_DETECTOR,
    SPEC_FILE,
    DetectorSpec,
    load_detector,
)
from wristmir_ray.preprocess.config import PreprocessConfig
from wristmir_ray.preprocess.regions import RegionCrop, extract_regions
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS
from wristmir_ray.tables import Table, conform

RUN = "run1"
SPLITS = ("train", "test")


@dataclass(frozen=True)
class World:
    """Where it is published, and the files its exams came from."""

    root: str
    images: dict[str, bytes]
    """Exam id -> PNG."""
    sources: dict[str, Path] = field(default_factory=dict)
    """Exam id -> where its image lies."""


def image(seed: int) -> bytes:
    """Return a PNG of smooth bright blobs: no two seeds look alike to a convolution."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(20, 255, (8, 6))
    return encode_png(np.kron(coarse, np.ones((20, 20))).astype(np.uint8))


def publish_rows(root: str, table: Table, rows: Sequence[Mapping[str, Any]], **manifest: Any) -> None:
    """Publish rows as a table's run."""
    data = conform(rows, table).sort_by([(k, "ascending") for k in table.key])
    storage.write_parquet(data, storage.join(storage.run_uri(root, table.name, RUN), "0.parquet"), table.row_group_size)
    storage.publish(
        root,
        storage.Manifest(
            table.name, RUN, "test", rows=data.num_rows, schema=table.fingerprint, files=["0.parquet"], **manifest
        ),
    )


def publish_detector(root: str, name: str, boxes: Mapping[Region, tuple[float, float, float, float]]) -> None:
    """Publish a network that sees the same boxes (centre and size, shares of the side) in every image."""
    side = 64
    output = np.zeros((4 + len(boxes), len(boxes)))
    for i, box in enumerate(boxes.values()):
        output[:4, i] = np.array(box) * side
        output[4 + i, i] = 0.9
    model = constant_network(output, side)
    spec = DetectorSpec(tuple(boxes), side, (0.3,) * len(boxes), iou_threshold=0.5).sealed(model)
    folder = storage.run_uri(root, name, RUN)
    storage.write_bytes(storage.join(folder, MODEL_FILE), model)
    storage.write_bytes(storage.join(folder, SPEC_FILE), spec.to_json().encode())
    storage.publish(root, storage.Manifest(name, RUN, "test", metrics={"digest": spec.digest}))


def publish_encoder(root: str, run_id: str = RUN, seed: int = 0, fixed_batch: int = 8) -> str:
    """Publish the demo's two towers with random weights; return the digest."""
    import torch

    from wristmir_ray.models.clip import EncoderConfig, build
    from wristmir_ray.models.encoder import NAME, save_encoder

    torch.manual_seed(seed)
    digest, files = save_encoder(root, run_id, build(EncoderConfig(init="random", fixed_batch=fixed_batch)))
    storage.publish(root, storage.Manifest(NAME, run_id, "test", files=files, metrics={"digest": digest}))
    return digest


def make_world(folder: Path, exams: int = 12) -> World:
    """Publish EXAMS, CAPTIONS, REGIONS, CROPS, both detectors and an encoder; the index is the caller's.

    Args:
        folder: where.
        exams: how many.
    """
    root = str(folder / "archive")
    publish_detector(root, ROI_DETECTOR, {Region.WRIST: (0.5, 0.5, 0.7, 0.9)})
    publish_detector(
        root,
        BONE_DETECTOR,
        {BONES[0]: (0.35, 0.6, 0.3, 0.5), BONES[1]: (0.68, 0.6, 0.2, 0.5), BONES[2]: (0.68, 0.75, 0.12, 0.12)},
    )
    publish_encoder(root)
    config = PreprocessConfig(root=root)
    locate = partial(
        extract_regions,
        roi_detector=load_detector(root, ROI_DETECTOR, runtime=config.runtime),
        bone_detector=load_detector(root, BONE_DETECTOR, runtime=config.runtime),
        config=config.regions,
    )
    images = {keys.digest("exam", str(i)): image(i) for i in range(exams)}
    found = {e: locate(decode(png, DecodeConfig()).gray) for e, png in images.items()}
    sources = {e: folder / "sources" / f"{i}.png" for i, e in enumerate(images)}
    for exam_id, png in images.items():
        storage.write_bytes(str(sources[exam_id]), png)
    publish_rows(root, EXAMS, [_exam(i, e, png, str(sources[e])) for i, (e, png) in enumerate(images.items())])
    publish_rows(root, CAPTIONS, [_caption(i, e, r) for i, e in enumerate(images) for r in Region])
    made = {
        "inputs": {EXAMS.name: RUN},
        "models": {ROI_DETECTOR: RUN, BONE_DETECTOR: RUN},
        "config": config.resolved(),
    }
    publish_rows(root, REGIONS, [_region(e, r) for e, regions in found.items() for r in regions], **made)
    version = preprocess_version(config.decode, config.regions)
    publish_rows(
        root, CROPS, [_crop(i, e, r, version) for i, (e, regions) in enumerate(found.items()) for r in regions], **made
    )
    return World(root, images, sources)


def _exam(i: int, exam_id: str, png: bytes, uri: str) -> dict[str, Any]:
    return {
        "source_id": keys.digest("source", str(i)),
        "exam_id": exam_id,
        "patient_id": keys.digest("patient", str(i // 2)),
        "study_id": keys.digest("study", str(i)),
        "report_id": keys.digest("report", str(i)),
        "source_uri": uri,
        "pixel_id": decode(png, DecodeConfig()).pixel_id,
        "format": "png",
        "laterality": ["left", "right"][i % 2],
        "view": "pa",
        "age_years": 4.0 + i,
        "sex": ["female", "male"][i % 3 == 0],
        "rows": 160,
        "cols": 120,
        "bits": 8,
        "split": SPLITS[i % 2],
    }


def _caption(i: int, exam_id: str, region: Region) -> dict[str, Any]:
    present = i % 3 == 0 and region is not Region.ULNAR_STYLOID
    text = f"{region.words} region showing {'buckle fracture' if present else 'no fracture'}."
    return {
        "exam_id": exam_id,
        "region": region,
        "caption": text,
        "caption_id": keys.caption_id(text),
        "presence": "present" if present else "absent",
        "fracture_type": "buckle" if present else None,
        "healing": "acute" if present else None,
        "split": SPLITS[i % 2],
    }


def _region(exam_id: str, found: RegionCrop) -> dict[str, Any]:
    assert found.box is not None
    box = {n: getattr(found.box, n) for n in ("x0_px", "y0_px", "x1_px", "y1_px")}
    return {"exam_id": exam_id, "region": found.region, **box, "score": found.score, "detector_digest": "d"}


def _crop(i: int, exam_id: str, found: RegionCrop, version: str) -> dict[str, Any]:
    assert found.crop is not None
    rows, cols = found.crop.shape
    png = encode_png(found.crop)
    return {
        "exam_id": exam_id,
        "region": found.region,
        "png": png,
        "rows": rows,
        "cols": cols,
        "split": SPLITS[i % 2],
        "preprocess_version": version,
    }
