"""Ingest's stages: objects to what their pixels and headers say, one row out for each row in, no Ray.

An identifier of a header is hashed in the very stage that decodes it: none leaves the worker.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from wristmir_ray import dicomweb, keys
from wristmir_ray.errors import reject_columns
from wristmir_ray.imaging import deid
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig
from wristmir_ray.imaging.decode import Radiograph, decode
from wristmir_ray.schemas import SOURCES
from wristmir_ray.sources import read_source
from wristmir_ray.tables import conform

READERS = 8
"""Objects that a worker fetches at a time."""

_ERRORS = ("error", "error_stage", "error_message")
_FETCHED = pa.schema([("data", pa.large_binary()), *((n, pa.string()) for n in _ERRORS)])

Decode = Callable[[bytes, DecodeConfig], Radiograph]


def fetch(
    batch: pa.Table, *, max_bytes: int, access: dicomweb.Access | None = None, readers: int = READERS
) -> pa.Table:
    """Read the objects. 1:1.

    Columns: source_uri -> + data, error columns.
    Rejects: source_unreadable; image_too_large, where only reading tells the size.
    """

    def read(uri: str) -> dict[str, Any]:
        try:
            return {"data": read_source(uri, access, max_bytes)}
        except Exception as e:
            return reject_columns(e, "fetch")

    with ThreadPoolExecutor(readers) as pool:
        rows = list(pool.map(read, batch["source_uri"].to_pylist()))
    fetched = pa.Table.from_pylist(rows, _FETCHED)
    for name in fetched.column_names:
        batch = batch.append_column(fetched.schema.field(name), fetched[name])
    return batch


def decode_images(
    batch: pa.Table, *, config: DecodeConfig, gate: DeidConfig, key: bytes, decode: Decode = decode
) -> pa.Table:
    """Decode every image that was read, and keep what is known of it instead of its bytes. 1:1.

    What the de-identification gate holds keeps its facts beside its code: a person may release it.

    Columns: source_id, source_uri, data, error columns -> SOURCES.
    Rejects: every code of `imaging.decode`; identified, burned_in_text.
    """
    rows: list[dict[str, Any]] = []
    for row in batch.drop_columns("data").to_pylist():
        data = batch["data"][len(rows)]
        out = {name: row[name] for name in ("source_id", "source_uri", *_ERRORS)}
        if row["error"] is None:
            try:
                image = decode(data.as_py(), config)
                out |= _facts(image, key)
                deid.check(image, gate)
            except Exception as e:
                out |= reject_columns(e, "decode")
        rows.append(out)
    return conform(rows, SOURCES)


def _facts(image: Radiograph, key: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "format": image.format,
        "rows": image.stored_rows,
        "cols": image.stored_cols,
        "bits": image.bits,
        "pixel_id": image.pixel_id,
    }
    header = image.header
    if header is None:
        return facts | {"exam_id": facts["pixel_id"]}
    return facts | {
        "exam_id": _keyed(key, "exam", header.sop_instance_uid) or facts["pixel_id"],
        "patient_id": _keyed(key, "patient", header.patient_id),
        "study_id": _keyed(key, "study", header.accession),
        "laterality": header.laterality,
        "view": header.view,
        "age_years": header.age_years,
        "sex": header.sex,
        "study_date": header.study_date,
    }


def _keyed(key: bytes, kind: str, value: str | None) -> str | None:
    return keys.keyed(key, kind, value) if value else None
