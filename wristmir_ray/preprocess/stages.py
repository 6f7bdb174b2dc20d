"""Bytes to radiographs, radiographs to regions and crops, and the tables they are published as."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.anatomy import Region, Side
from wristmir_ray.errors import Reject, reject_columns
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.memory import keep_freed
from wristmir_ray.models.detector import Detector
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.oddities import MESSAGES
from wristmir_ray.preprocess.regions import RegionCrop, extract_batch, extract_regions
from wristmir_ray.schemas import CROPS, PREPROCESSED, REGIONS
from wristmir_ray.sources import read_source
from wristmir_ray.tables import Table, conform

STAGE = "preprocess"
FETCHES = 4
"""Files that are fetched ahead while others are cut: a store's delay is hidden."""

Write = Callable[[pa.Table], pa.Table]
"""Rows -> their receipt, or the rows themselves."""

Load = Callable[[], tuple[Detector, Detector]]
"""-> detectors of wrist and bones; runs in the actor."""

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


def read_radiographs(batch: pa.Table, *, config: DecodeConfig) -> pa.Table:
    """Fetch and decode one batch of exams.

    Columns: source_id, exam_id, source_uri, pixel_id, laterality, split -> RADIOGRAPHS. 1:1.
    Rejects: source_unreadable, and those of `imaging.decode`.
    """
    _one_thread()
    return conform([_decoded(row, config) for row in batch.to_pylist()], RADIOGRAPHS)


def _decoded(row: Mapping[str, Any], config: DecodeConfig) -> dict[str, Any]:
    try:
        gray = decode(read_source(row["source_uri"]), config, row["pixel_id"]).gray
    except Exception as e:
        return {**_key(row), **reject_columns(e, STAGE)}
    size = {"rows": gray.shape[0], "cols": gray.shape[1]}
    return {**_key(row), "gray": gray.tobytes(), **size, "laterality": row["laterality"]}


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    return {n: row[n] for n in ("source_id", "exam_id", "split")}


class DetectAndCrop:
    """Holds both detectors, on a GPU: what other workers have decoded comes in, a batch at a time.

    The networks are given the whole batch; enhancing, cutting and packing is shared by `threads`.

    Columns: RADIOGRAPHS -> PREPROCESSED. 1:1.
    Rejects: those of `oddities`; a rejected row passes through. A missing bone is `no_region` in its region.
    """

    def __init__(self, config: RegionConfig, load: Load, threads: int = 1) -> None:
        _one_thread()
        self._config = config
        self._detectors = load()
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = batch.drop_columns(["gray"]).to_pylist()
        good = {i: _pixels(batch, i) for i, row in enumerate(rows) if not row["error"]}
        cut = dict(zip(good, self._cut([rows[i] for i in good], list(good.values())), strict=True))
        return conform([cut[i] if i in cut else _passed(row) for i, row in enumerate(rows)], PREPROCESSED)

    def _cut(self, rows: Sequence[Mapping[str, Any]], grays: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Return PREPROCESSED rows; if the batch fails, each radiograph is tried alone: one of them is bad."""
        try:
            sides = [_side(row) for row in rows]
            found = extract_batch(grays, sides, *self._detectors, self._config, self._pool.map)
            return list(self._pool.map(_row, rows, found))
        except Exception:
            return [
                _cut_alone(row, partial(np.asarray, gray), self._detectors, self._config)
                for row, gray in zip(rows, grays, strict=True)
            ]


class ReadDetectAndCrop:
    """Holds both detectors, on a CPU, and decodes and writes too: an image is cut up while it is in the cache.

    Columns: source_id, exam_id, source_uri, pixel_id, laterality, split -> PREPROCESSED, or what `write` gives.
    Rejects: those of `read_radiographs` and `DetectAndCrop`.
    """

    def __init__(self, config: RegionConfig, load: Load, read: DecodeConfig, write: Write | None = None) -> None:
        _one_thread()
        keep_freed()
        self._config = config
        self._detectors = load()
        self._decode = read
        self._write = write

    def __call__(self, batch: pa.Table) -> pa.Table:
        cut = conform([self._cut(row, file) for row, file in _fetched(batch.to_pylist())], PREPROCESSED)
        return self._write(cut) if self._write else cut

    def _cut(self, row: Mapping[str, Any], file: Future[bytes]) -> dict[str, Any]:
        return _cut_alone(
            row, lambda: decode(file.result(), self._decode, row["pixel_id"]).gray, self._detectors, self._config
        )


def _fetched(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Future[bytes]]]:
    """Yield rows with their files, of which FETCHES at most are held."""
    with ThreadPoolExecutor(FETCHES) as pool:
        ahead = deque((row, pool.submit(read_source, row["source_uri"])) for row in rows[:FETCHES])
        for row in (*rows[FETCHES:], *[None] * len(ahead)):
            yield ahead.popleft()
            if row is not None:
                ahead.append((row, pool.submit(read_source, row["source_uri"])))


def _cut_alone(
    row: Mapping[str, Any],
    pixels: Callable[[], np.ndarray],
    detectors: tuple[Detector, Detector],
    config: RegionConfig,
) -> dict[str, Any]:
    try:
        return _row(row, extract_regions(pixels(), *detectors, config, _side(row)))
    except Exception as e:
        return _rejected(row, reject_columns(e, STAGE))


def _row(row: Mapping[str, Any], found: Sequence[RegionCrop]) -> dict[str, Any]:
    if found[0].error is not None:
        return _rejected(row, reject_columns(Reject(found[0].error, MESSAGES[found[0].error]), STAGE))
    return {**_key(row), "regions": [_struct(r) for r in sorted(found, key=lambda r: r.region)]}


def _side(row: Mapping[str, Any]) -> Side | None:
    return Side(row["laterality"]) if row["laterality"] else None


def _pixels(batch: pa.Table, i: int) -> np.ndarray:
    """Return the i-th radiograph's uint8 (H, W) without a copy."""
    flat = np.frombuffer(batch["gray"][i].as_buffer(), np.uint8)
    return flat.reshape(batch["rows"][i].as_py(), batch["cols"][i].as_py())


def _passed(row: Mapping[str, Any]) -> dict[str, Any]:
    return _rejected(row, {n: row[n] for n in ("error", "error_stage", "error_message")})


def _rejected(row: Mapping[str, Any], errors: Mapping[str, Any]) -> dict[str, Any]:
    regions = [{"region": region, "error": errors["error"]} for region in sorted(Region)]
    return {**_key(row), "regions": regions, **errors}


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
