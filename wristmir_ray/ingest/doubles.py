"""Several objects of one exam: the first address stands, the others are rejects.

An exam that another object has under another patient or side is no mere copy: one of the two is wrongly
named, and no object tells which.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.spill import Spill

_OWNED = ("patient_id", "laterality")
COPIES = pa.schema([(name, pa.string()) for name in ("exam_id", "source_uri", "source_id", *_OWNED)])
"""Good objects; sorted by exam and address."""

DOUBLES = pa.schema([("source_id", pa.string()), ("differs", pa.bool_())])
"""An object whose exam an earlier address has. It differs where both name patient or side, and not the same."""

_CODES = {
    False: Reject(ErrorCode.DUPLICATE_EXAM, "an earlier object of the archive is the same exam"),
    True: Reject(
        ErrorCode.METADATA_CONFLICT, "an earlier object of the archive is the same exam under another patient or side"
    ),
}


def find_doubles(copies: Spill, doubles: Spill) -> None:
    """Put each row of COPIES whose exam an earlier address already has into `doubles`."""
    for rows in copies.ranges():
        ids = rows["exam_id"].combine_chunks()
        if len(ids) > 1:
            again = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
            no = pa.array([False])
            doubles.put(_doubles_of(rows.filter(pc.or_(pa.concat_arrays([no, again]), pa.concat_arrays([again, no])))))


def _doubles_of(copies: pa.Table) -> pa.Table:
    """Return DOUBLES of copies that lie beside each other, the earliest of each exam left out."""
    out: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for row in copies.to_pylist():
        if row["exam_id"] != first.get("exam_id"):
            first = row
            continue
        differs = any(row[n] and first[n] and row[n] != first[n] for n in _OWNED)
        out.append({"source_id": row["source_id"], "differs": differs})
        first |= {n: first[n] or row[n] for n in _OWNED}
    return pa.Table.from_pylist(out, DOUBLES)


def reject_doubles(rows: pa.Table, doubles: pa.Table) -> pa.Table:
    """Return rows of EXAMS with the codes of doubles. Rejects: duplicate_exam, metadata_conflict."""
    for differs, reject in _CODES.items():
        ids = doubles.filter(pc.equal(doubles["differs"], differs))["source_id"]
        double = pc.is_in(rows["source_id"], value_set=ids)
        for name, value in reject.columns("publish").items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.if_else(double, value, rows[name]))
    return rows
