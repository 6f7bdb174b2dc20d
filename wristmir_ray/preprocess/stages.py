"""Bytes to radiographs, radiographs to regions and crops, and the tables they are published as."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import crop, crop_bounds, encode_png, pad_square, resize_longer_side
from wristmir_ray.imaging.decode import decode
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.models.detector import Detection, Detector
from wristmir_ray.preprocess.choice import choose_bones
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.schemas import CROPS, PREPROCESSED, REGIONS, Table, conform

STAGE = "preprocess"
FETCHES = 4
"""Files of a batch that are fetched at a time while others are cut: a store's delay is hidden."""

RADIOGRAPHS = Table(
    "radiographs",
    ("source_id",),
    pa.schema(
        [
            *(PREPROCESSED.schema.field(n) for n in ("source_id", "exam_id", "split")),
            ("gray", pa.large_binary()),
            ("rows", pa.int32()),
            ("cols", pa.int32()),
            ("laterality", pa.string()),
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
    gray: np.ndarray,
    roi_detector: Detector,
    bone_detector: Detector,
    config: RegionConfig,
    side: Side | None = None,
) -> list[RegionCrop]:
    """Return the wrist and its three bones, in the order of `Region`: the one way of archive and queries.

    The best wrist box is cut with its margin and enhanced; the bones are looked for, and cut, in
    that enhanced image.

    Args:
        gray: uint8 (H, W) as `imaging.decode` gives it.
        roi_detector: finds the wrist in the whole image.
        bone_detector: finds bones in the enhanced wrist.
        config: margins, enhancement, crop size, what is plausible.
        side: of the wrist, where it is known: helps to tell which candidate is the styloid.

    Returns:
        Four entries. Without a wrist all say `no_wrist`; a bone that was not found says `no_region`.

    References:
        WristMIR §2.2, Fig. 1a.
    """
    wrists = [d for d in _sizable(roi_detector.detect([gray])[0]) if d.region == Region.WRIST]
    if not wrists:
        return [RegionCrop(region, error=ErrorCode.NO_WRIST) for region in Region]
    wrist = max(wrists, key=lambda d: d.score)
    bounds = crop_bounds(wrist.box, gray.shape[0], gray.shape[1], config.roi_margin)
    roi = enhance(crop(gray, wrist.box, config.roi_margin), config.enhance)
    bones = choose_bones(_sizable(bone_detector.detect([roi])[0]), config, side)
    out = [RegionCrop(Region.WRIST, wrist.box, wrist.score, _square(roi, config.crop_size))]
    for bone in BONES:
        found = bones.get(bone)
        if found is None:
            out.append(RegionCrop(bone, error=ErrorCode.NO_REGION))
        else:
            pixels = _square(crop(roi, found.box, config.margin(bone)), config.crop_size)
            out.append(RegionCrop(bone, found.box.shift(bounds.x0_px, bounds.y0_px), found.score, pixels))
    return out


def _sizable(found: Sequence[Detection]) -> list[Detection]:
    """Drop boxes narrower than a pixel: they show nothing, and rounding can empty them."""
    return [d for d in found if min(d.box.width_px, d.box.height_px) >= 1]


def _square(gray: np.ndarray, side_px: int) -> np.ndarray:
    """Shrink to at most `side_px`, then pad: the zeros stay zeros."""
    return pad_square(gray if max(gray.shape) <= side_px else resize_longer_side(gray, side_px))


def read_radiographs(batch: pa.Table, *, config: DecodeConfig) -> pa.Table:
    """Fetch and decode one batch of exams.

    Columns: source_id, exam_id, source_uri, laterality, split -> RADIOGRAPHS. 1:1.
    Rejects: source_unreadable, and those of `imaging.decode`.
    """
    _one_thread()
    return conform([_decoded(row, config) for row in batch.to_pylist()], RADIOGRAPHS)


def _decoded(row: Mapping[str, Any], config: DecodeConfig) -> dict[str, Any]:
    try:
        gray = decode(_fetch(row["source_uri"]), config).gray
    except Exception as e:
        return {**_key(row), **reject_columns(e, STAGE)}
    size = {"rows": gray.shape[0], "cols": gray.shape[1]}
    return {**_key(row), "gray": gray.tobytes(), **size, "laterality": row["laterality"]}


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {n: row[n] for n in ("source_id", "exam_id", "split")}


def _fetch(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except OSError as e:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, type(e).__name__) from None


class DetectAndCrop:
    """Holds both detectors, on a GPU: what other workers have decoded comes in.

    Columns: RADIOGRAPHS -> PREPROCESSED. 1:1.
    Rejects: no_wrist; a rejected row passes through. A missing bone is `no_region` in its region.
    """

    def __init__(self, config: RegionConfig, load: Callable[[], tuple[Detector, Detector]]) -> None:
        _one_thread()
        self._config = config
        self._roi_detector, self._bone_detector = load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        plain = batch.drop_columns(["gray"]).to_pylist()
        return conform([self._passed(row, batch["gray"][i]) for i, row in enumerate(plain)], PREPROCESSED)

    def _passed(self, row: Mapping[str, Any], gray: pa.LargeBinaryScalar) -> dict[str, Any]:
        if row["error"]:
            return _rejected(row, {n: row[n] for n in ("error", "error_stage", "error_message")})
        return self._cut(row, lambda: np.frombuffer(gray.as_buffer(), np.uint8).reshape(row["rows"], row["cols"]))

    def _cut(self, row: Mapping[str, Any], pixels: Callable[[], np.ndarray]) -> dict[str, Any]:
        try:
            side = Side(row["laterality"]) if row["laterality"] else None
            found = extract_regions(pixels(), self._roi_detector, self._bone_detector, self._config, side)
            if found[0].error is not None:
                raise Reject(found[0].error, "no box of a wrist")
            return {**_key(row), "regions": [_struct(r) for r in found]}
        except Exception as e:
            return _rejected(row, reject_columns(e, STAGE))


class ReadDetectAndCrop(DetectAndCrop):
    """Decodes too, on a CPU: a decoded image is cut up while it is in the cache, and crosses no process.

    Columns: source_id, exam_id, source_uri, laterality, split -> PREPROCESSED. 1:1.
    Rejects: those of `read_radiographs` and `DetectAndCrop`.
    """

    def __init__(self, config: RegionConfig, load: Callable[[], tuple[Detector, Detector]], read: DecodeConfig) -> None:
        super().__init__(config, load)
        self._decode = read

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = batch.to_pylist()
        with ThreadPoolExecutor(FETCHES) as pool:
            files = [pool.submit(_fetch, row["source_uri"]) for row in rows]
            cut = [self._cut(row, partial(self._gray, file)) for row, file in zip(rows, files, strict=True)]
        return conform(cut, PREPROCESSED)

    def _gray(self, file: Future[bytes]) -> np.ndarray:
        return decode(file.result(), self._decode).gray


def _rejected(row: Mapping[str, Any], errors: Mapping[str, Any]) -> dict[str, Any]:
    return {**_key(row), "regions": [{"region": region, "error": errors["error"]} for region in Region], **errors}


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
