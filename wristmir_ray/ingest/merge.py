"""What an object is, all told: its pixels and header, the metadata table, and where they differ. Pure Arrow."""

from functools import reduce
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys
from wristmir_ray.anatomy import View
from wristmir_ray.errors import ErrorCode, Reject, SchemaError
from wristmir_ray.ingest.config import SplitConfig
from wristmir_ray.schemas import EXAMS, SOURCES

MERGED = pa.schema([f for f in EXAMS.schema if f.name != "report_id"])
"""A row of EXAMS, but for its report and for doubles."""

AGE_TOLERANCE_YEARS = 1.0
"""A header's 009Y is any age from 9 to 10."""

NO_VIEW = (
    "neither table nor header names a view: --assume_view pa takes such images for PA, "
    "or map the table's column of views (metadata.columns.view)"
)

_COMPARED = ("laterality", "view", "age_years", "sex")
_UNREAD = {
    ErrorCode.VIEW_NOT_PA: "the table names another view",
    ErrorCode.SOURCE_UNREADABLE: "the list of images names it, and it is not there",
    ErrorCode.IMAGE_TOO_LARGE: "the file is larger than max_file_mib",
}
_ERRORS = ("error", "error_stage", "error_message")

Column: TypeAlias = pa.ChunkedArray


def merge(objects: pa.Table, sources: pa.Table, assume_view: View | None, split: SplitConfig) -> pa.Table:
    """Join what the table and the header say; the table wins, sides must agree, the view must be PA.

    An image whose patient is not known is its own patient for the split.

    Args:
        objects: OBJECTS, no key twice.
        sources: SOURCES; it holds every object that was to be read.
        assume_view: view of an image of which neither names one.
        split: shares of patients.

    Returns:
        MERGED, one row an object, in its order. Rejects: view_not_pa, metadata_conflict, source_unreadable,
        image_too_large, and those of `sources`.
    """
    read = _facts_of(objects, sources)
    columns = {name: read[name] for name in ("format", "rows", "cols", "bits", "pixel_id", "exam_id", *_ERRORS)}
    for name in ("patient_id", "study_id", "laterality", "view", "age_years", "sex", "study_date"):
        columns[name] = pc.coalesce(objects[name], read[name])
    conflicts = _conflicts(objects, read)
    if assume_view is not None:
        columns["view"] = pc.coalesce(columns["view"], pa.scalar(assume_view.value))
    _reject(columns, objects["unread"], conflicts)
    columns["conflicts"] = _names(conflicts, objects.num_rows)
    columns["split"] = _splits(pc.coalesce(columns["patient_id"], columns["exam_id"]), split)
    columns |= {name: objects[name] for name in ("source_id", "source_uri")}
    return pa.table([columns[f.name] for f in MERGED], schema=MERGED)


def _facts_of(objects: pa.Table, sources: pa.Table) -> pa.Table:
    """Return the SOURCES row of each object, nulls for an object that is not read."""
    place = pc.index_in(objects["source_id"], value_set=sources["source_id"])
    wanted = pc.is_null(objects["unread"])
    if pc.any(pc.and_(wanted, pc.is_null(place))).as_py():
        raise SchemaError(f"table {SOURCES.name} lacks an object that was to be read")
    return sources.take(pc.if_else(wanted, place, pa.scalar(None, pa.int32())))


def _conflicts(objects: pa.Table, read: pa.Table) -> dict[str, Column]:
    """Return for each compared field whether table and header both name it, and differ."""
    out = {name: pc.not_equal(objects[name], read[name]) for name in _COMPARED}
    apart = pc.abs(pc.subtract(objects["age_years"], read["age_years"]))
    out["age_years"] = pc.greater(apart, AGE_TOLERANCE_YEARS)
    return {name: pc.fill_null(differ, False) for name, differ in out.items()}


def _reject(columns: dict[str, Column], unread: Column, conflicts: dict[str, Column]) -> None:
    """Fill the error columns of rows that have none yet, the first reason first."""
    for code, message in _UNREAD.items():
        _mark(columns, pc.fill_null(pc.equal(unread, code.value), False), Reject(code, message).columns("list"))
    view_not_pa = ErrorCode.VIEW_NOT_PA  # by either: a table that says PA does not make a lateral view one
    other = pc.or_(pc.fill_null(pc.not_equal(columns["view"], View.PA.value), False), conflicts["view"])
    unknown = pc.is_null(columns["view"])
    _mark(columns, other, Reject(view_not_pa, "the table or header names another view").columns("merge"))
    _mark(columns, unknown, Reject(view_not_pa, NO_VIEW).columns("merge"))
    sides = Reject(ErrorCode.METADATA_CONFLICT, "table and header name different sides")
    _mark(columns, conflicts["laterality"], sides.columns("merge"))


def _mark(columns: dict[str, Column], where: Column, reject: dict[str, Any]) -> None:
    mask = pc.and_(where, pc.is_null(columns["error"]))
    for name, value in reject.items():
        columns[name] = pc.if_else(mask, value, columns[name])


def _names(conflicts: dict[str, Column], num_rows: int) -> pa.Array:
    """Return for each row the fields that differ, as a list; empty for most."""
    if not pc.any(reduce(pc.or_, conflicts.values())).as_py():
        return pa.array([[]] * num_rows, pa.list_(pa.string()))
    flags = zip(*(c.to_pylist() for c in conflicts.values()), strict=True)
    rows = [[name for name, differ in zip(conflicts, row, strict=True) if differ] for row in flags]
    return pa.array(rows, pa.list_(pa.string()))


def _splits(owners: Column, split: SplitConfig) -> pa.Array:
    chosen = (
        keys.split_of(owner, split.val_share, split.test_share).value if owner else None for owner in owners.to_pylist()
    )
    return pa.array(chosen, pa.string())
