"""Bytes to radiographs, radiographs to regions and crops, and the tables they are published as."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Region
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import crop, crop_bounds, encode_png, pad_square, resize_longer_side
from wristmir_ray.imaging.decode import decode
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.models.detector import Detector
from wristmir_ray.preprocess.choice import choose_bones
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.schemas import CROPS, PREPROCESSED, REGIONS, Table, conform

STAGE = "preprocess"

RADIOGRAPHS = Table(
    "radiographs",
    ("source_id",),
    pa.schema(
        [
            *(PREPROCESSED.schema.field(n) for n in ("source_id", "exam_id", "split")),
            ("gray", pa.large_binary()),
            ("rows", pa.int32()),
            ("cols", pa.int32()),
            *(PREPROCESSED.schema.field(n) for n in ("error", "error_stage", "error_message")),
        ]
    ),
)
"""What passes from reading to detecting: decoded pixels, row by row. Never stored."""


@dataclass(frozen=True, slots=True)
class RegionCrop:
    """One region of one radiograph: found with box and crop, or not found with a code."""

    region: Region
    box: Box | None = None
    """In pixels of the source image, without margin."""
    score: float | None = None
    crop: np.ndarray | None = None
    """uint8 (S, S), enhanced, zero-padded to a square, S <= crop_size."""
    error: ErrorCode | None = None


def extract_regions(
    gray: np.ndarray, roi_detector: Detector, bone_detector: Detector, config: RegionConfig
) -> list[RegionCrop]:
    """Return the wrist and its three bones, in the order of `Region`: the one way of archive and queries.

    The best wrist box is cut with its margin and enhanced; the bones are looked for, and cut, in
    that enhanced image.

    Args:
        gray: uint8 (H, W) as `imaging.decode` gives it.
        roi_detector: finds the wrist in the whole image.
        bone_detector: finds bones in the enhanced wrist.
        config: margins, enhancement, crop size, what is plausible.

    Returns:
        Four entries. Without a wrist all say `no_wrist`; a bone that was not found says `no_region`.

    References:
        WristMIR §2.2, Fig. 1a.
    """
    wrists = [d for d in roi_detector.detect([gray])[0] if d.region == Region.WRIST]
    if not wrists:
        return [RegionCrop(region, error=ErrorCode.NO_WRIST) for region in Region]
    wrist = max(wrists, key=lambda d: d.score)
    bounds = crop_bounds(wrist.box, gray.shape[0], gray.shape[1], config.roi_margin)
    roi = enhance(crop(gray, wrist.box, config.roi_margin), config.enhance)
    bones = choose_bones(bone_detector.detect([roi])[0], config)
    out = [RegionCrop(Region.WRIST, wrist.box, wrist.score, _square(roi, config.crop_size))]
    for bone in BONES:
        found = bones.get(bone)
        if found is None:
            out.append(RegionCrop(bone, error=ErrorCode.NO_REGION))
        else:
            pixels = _square(crop(roi, found.box, config.bone_margin), config.crop_size)
            out.append(RegionCrop(bone, found.box.shift(bounds.x0_px, bounds.y0_px), found.score, pixels))
    return out


def _square(gray: np.ndarray, side_px: int) -> np.ndarray:
    """Shrink to at most `side_px`, then pad: the zeros stay zeros."""
    return pad_square(gray if max(gray.shape) <= side_px else resize_longer_side(gray, side_px))


def read_radiographs(batch: pa.Table, *, config: DecodeConfig) -> pa.Table:
    """Fetch and decode one batch of exams.

    Columns: source_id, exam_id, source_uri, split -> RADIOGRAPHS. 1:1.
    Rejects: source_unreadable, and those of `imaging.decode`.
    """
    _one_thread()
    return conform([_read(row, config) for row in batch.to_pylist()], RADIOGRAPHS)


def _read(row: Mapping[str, Any], config: DecodeConfig) -> dict[str, Any]:
    key = {n: row[n] for n in ("source_id", "exam_id", "split")}
    try:
        gray = decode(_fetch(row["source_uri"]), config).gray
    except Exception as e:
        return {**key, **reject_columns(e, STAGE)}
    return {**key, "gray": gray.tobytes(), "rows": gray.shape[0], "cols": gray.shape[1]}


def _fetch(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except OSError as e:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, type(e).__name__) from None


class DetectAndCrop:
    """Holds both detectors, so that a decoded image crosses processes once.

    Columns: RADIOGRAPHS -> PREPROCESSED. 1:1.
    Rejects: no_wrist; a rejected row passes through. A missing bone is `no_region` in its region.
    """

    def __init__(self, config: RegionConfig, load: Callable[[], tuple[Detector, Detector]]) -> None:
        _one_thread()
        self._config = config
        self._roi_detector, self._bone_detector = load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        plain = batch.drop_columns(["gray"]).to_pylist()
        return conform([self._row(row, batch["gray"][i]) for i, row in enumerate(plain)], PREPROCESSED)

    def _row(self, row: Mapping[str, Any], gray: pa.LargeBinaryScalar) -> dict[str, Any]:
        key = {n: row[n] for n in ("source_id", "exam_id", "split")}
        errors = {n: row[n] for n in ("error", "error_stage", "error_message")}
        if not errors["error"]:
            try:
                pixels = np.frombuffer(gray.as_buffer(), np.uint8).reshape(row["rows"], row["cols"])
                found = extract_regions(pixels, self._roi_detector, self._bone_detector, self._config)
                if found[0].error is None:
                    return {**key, "regions": [_struct(r) for r in found]}
                raise Reject(found[0].error, "no box of a wrist")
            except Exception as e:
                errors = dict(reject_columns(e, STAGE))
        return {**key, "regions": [{"region": region, "error": errors["error"]} for region in Region], **errors}


def _struct(found: RegionCrop) -> dict[str, Any]:
    if found.box is None or found.crop is None:
        return {"region": found.region, "error": found.error}
    box = {n: getattr(found.box, n) for n in ("x0_px", "y0_px", "x1_px", "y1_px")}
    rows, cols = found.crop.shape
    return {
        "region": found.region,
        **box,
        "score": found.score,
        "png": encode_png(found.crop),
        "rows": rows,
        "cols": cols,
    }


def explode_regions(batch: pa.Table, *, digests: Mapping[str, str]) -> pa.Table:
    """Return REGIONS, four rows an exam.

    Args:
        batch: PREPROCESSED.
        digests: region -> digest of the detector that looks for it.
    """
    rows = _explode(batch, ("x0_px", "y0_px", "x1_px", "y1_px", "score"))
    digest = [digests[r] for r in rows["region"].to_pylist()]
    return conform({**rows, "detector_digest": digest}, REGIONS)


def explode_crops(batch: pa.Table, *, version: str) -> pa.Table:
    """Return CROPS, four rows an exam.

    Args:
        batch: PREPROCESSED.
        version: of the settings that shape crops.
    """
    rows = _explode(batch, ("png", "rows", "cols"))
    parent = pc.list_parent_indices(batch["regions"])
    whole = {**rows, "split": batch["split"].take(parent)}
    return conform({**whole, "preprocess_version": [version] * len(parent)}, CROPS)


def _explode(batch: pa.Table, columns: Sequence[str]) -> dict[str, Any]:
    """Return key, error columns and `columns` of the exams' regions, flat."""
    flat, parent = pc.list_flatten(batch["regions"]), pc.list_parent_indices(batch["regions"])
    rows = {n: pc.struct_field(flat, n) for n in ("region", "error", *columns)}
    failed = pc.is_valid(rows["error"])
    reason = pc.fill_null(batch["error_message"].take(parent), "the detector found none")
    return {
        "exam_id": batch["exam_id"].take(parent),
        **rows,
        "error_stage": pc.if_else(failed, STAGE, pa.scalar(None, pa.string())),
        "error_message": pc.if_else(failed, reason, pa.scalar(None, pa.string())),
    }


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)  # workers share the cores; threads of each would only wait for one another
