"""Ingest's stages: batch -> batch, one row out for each row in, no Ray."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import View
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging import deid
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.ingest.config import SplitConfig
from wristmir_ray.schemas import INGESTED, conform

_READERS = 8
_ERRORS = ("error", "error_stage", "error_message")
_FACTS = pa.schema(
    [
        ("format", pa.string()),
        ("rows", pa.int32()),
        ("cols", pa.int32()),
        ("bits", pa.int32()),
        ("pixel_id", pa.string()),
        (
            "header",
            pa.struct(
                [
                    ("sop_instance_uid", pa.string()),
                    ("patient_id", pa.string()),
                    ("accession", pa.string()),
                    ("laterality", pa.string()),
                    ("view", pa.string()),
                    ("age_years", pa.float32()),
                    ("sex", pa.string()),
                    ("study_date", pa.date32()),
                ]
            ),
        ),
        *((name, pa.string()) for name in _ERRORS),
    ]
)
_MERGED = ("accession", "laterality", "view", "age_years", "sex", "study_date", "patient_id")


def fetch(batch: pa.Table, *, max_bytes: int) -> pa.Table:
    """Read the objects that may be wanted. 1:1.

    Columns: source_uri, size, view -> + data, error columns.
    Rejects: source_unreadable; image_too_large (unread); view_not_pa (unread, where the table says so).
    """

    def read(uri: str, size: int, view: str | None) -> dict[str, Any]:
        try:
            if view is not None and view != View.PA:
                raise Reject(ErrorCode.VIEW_NOT_PA, "the table names another view")
            if size > max_bytes:
                raise Reject(ErrorCode.IMAGE_TOO_LARGE, f"the file has {size} bytes, at most {max_bytes} are read")
            return {"data": storage.read_bytes(uri)}
        except Reject as e:
            return e.columns("fetch")
        except Exception as e:
            return Reject(ErrorCode.SOURCE_UNREADABLE, f"cannot be read ({type(e).__name__})").columns("fetch")

    columns = (batch[n].to_pylist() for n in ("source_uri", "size", "view"))
    with ThreadPoolExecutor(_READERS) as readers:
        rows = list(readers.map(read, *columns))
    schema = pa.schema([("data", pa.large_binary()), *((n, pa.string()) for n in _ERRORS)])
    return _append(batch, pa.Table.from_pylist(rows, schema))


def decode_images(
    batch: pa.Table, *, config: DecodeConfig, gate: DeidConfig, released: frozenset[str] = frozenset()
) -> pa.Table:
    """Decode every image that was read, and keep what is known of it instead of its bytes. 1:1.

    Columns: source_id, data, error columns -> format, rows, cols, bits, pixel_id, header, error columns.
    Rejects: every code of `imaging.decode`; identified, burned_in_text, unless the row's id is `released`.
    """
    rows = []
    errors = zip(*(batch[n].to_pylist() for n in _ERRORS), strict=True)
    for source_id, data, error in zip(batch["source_id"].to_pylist(), batch["data"], errors, strict=True):
        row: dict[str, Any] = dict(zip(_ERRORS, error, strict=True))
        if row["error"] is None:
            try:
                row |= _facts(data.as_py(), config, None if source_id in released else gate)
            except Exception as e:
                row |= reject_columns(e, "decode")
        rows.append(row)
    return _append(batch.drop_columns(["data", *_ERRORS]), pa.Table.from_pylist(rows, _FACTS))


def _facts(data: bytes, config: DecodeConfig, gate: DeidConfig | None) -> dict[str, Any]:
    image = decode(data, config)
    if gate is not None:
        deid.check(image, gate)
    return {
        "format": image.format,
        "rows": image.stored_rows,
        "cols": image.stored_cols,
        "bits": image.bits,
        "pixel_id": image.pixel_id,
        "header": asdict(image.header) if image.header else None,
    }


def merge_metadata(batch: pa.Table, *, assume_view: View | None) -> pa.Table:
    """Join what the table and the header say; the table wins, sides must agree, the view must be PA. 1:1.

    Columns: the table's (patient_id, ..., study_date), header, error columns -> the same, merged.
    Rejects: view_not_pa, metadata_conflict.
    """
    rows = batch.to_pylist()
    for row in rows:
        header = row["header"] or {}
        sides = {side for side in (row["laterality"], header.get("laterality")) if side}
        views = {view for view in (row["view"], header.get("view")) if view} or {assume_view}
        for name in _MERGED:
            row[name] = row[name] if row[name] is not None else header.get(name)
        row["view"] = row["view"] or assume_view
        if row["error"] is not None:
            continue
        if views != {View.PA}:
            known = "another view" if any(views) else "no view"
            row.update(Reject(ErrorCode.VIEW_NOT_PA, f"the table or header names {known}").columns("merge"))
        elif len(sides) > 1:
            row.update(Reject(ErrorCode.METADATA_CONFLICT, "table and header name different sides").columns("merge"))
    return pa.Table.from_pylist(rows, batch.schema)


def attach_reports(batch: pa.Table, *, reports: pa.Table) -> pa.Table:
    """Give each good row the report of its study. 1:1.

    Columns: accession, error -> + report_text (null where there is none).
    """
    place = pc.index_in(batch["accession"], value_set=reports["accession"])
    text = reports["text"].take(place) if reports.num_rows else pa.nulls(batch.num_rows, pa.string())
    good = pc.is_null(batch["error"])
    return batch.append_column("report_text", pc.if_else(good, text, pa.scalar(None, pa.string())))


def identify(batch: pa.Table, *, key: bytes, split: SplitConfig) -> pa.Table:
    """Replace the archive's identifiers by keyed hashes and choose the split by patient. 1:1.

    An image whose patient is not known is its own patient for the split.

    Columns: patient_id, accession, header.sop_instance_uid, pixel_id, ... -> INGESTED.
    """
    rows = []
    for row in batch.to_pylist():
        uid = (row["header"] or {}).get("sop_instance_uid")
        exam = _keyed(key, "exam", uid) or row["pixel_id"]
        patient = _keyed(key, "patient", row["patient_id"])
        owner = patient or exam
        text = row["report_text"]
        out = {name: row.get(name) for name in INGESTED.schema.names}
        out |= {
            "exam_id": exam,
            "patient_id": patient,
            "study_id": _keyed(key, "study", row["accession"]),
            "report_id": keys.report_id(text) if text else None,
            "split": keys.split_of(owner, split.val_share, split.test_share).value if owner else None,
        }
        rows.append(out)
    return conform(rows, INGESTED)


def _keyed(key: bytes, kind: str, value: str | None) -> str | None:
    return keys.keyed(key, kind, value) if value else None


def _append(batch: pa.Table, more: pa.Table) -> pa.Table:
    for name in more.column_names:
        batch = batch.append_column(more.schema.field(name), more[name])
    return batch


def later_doubles(rows: pa.Table) -> pa.Array:
    """Return the source_id of each good row whose exam_id an earlier address already has.

    Args:
        rows: source_id, exam_id, source_uri, error of the whole archive.
    """
    good = rows.filter(pc.is_null(rows["error"])).sort_by([("exam_id", "ascending"), ("source_uri", "ascending")])
    ids = good["exam_id"].combine_chunks()
    if len(ids) < 2:
        return pa.array([], pa.string())
    double = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return good["source_id"].combine_chunks().slice(1).filter(double)


def exams(batch: pa.Table, doubles: pa.Array) -> pa.Table:
    """Return rows of EXAMS; a double becomes a reject. 1:1. Rejects: duplicate_exam."""
    double = pc.is_in(batch["source_id"], value_set=doubles)
    reject = Reject(ErrorCode.DUPLICATE_EXAM, "an earlier object of the archive is the same exam").columns("publish")
    for name, value in reject.items():
        column = pc.if_else(double, value, batch[name])
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    return batch.drop_columns(["report_text"])


def reports(batch: pa.Table) -> pa.Table:
    """Return rows of REPORTS: the texts of good exams, doubles still among them. 1:0 or 1:1."""
    found = batch.filter(pc.and_(pc.is_valid(batch["report_text"]), pc.is_null(batch["error"])))
    empty = pa.nulls(found.num_rows, pa.string())
    columns = {"report_id": found["report_id"], "text": found["report_text"]}
    return pa.table({**columns, **dict.fromkeys(_ERRORS, empty)})
