"""Exams of a grown archive whose images have not changed: their regions and crops are taken over."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.schemas import CROPS, EXAMS, PREPROCESSED, REGIONS
from wristmir_ray.spill import dataset, key_ranges, within
from wristmir_ray.tables import conform
from wristmir_ray.takeover import StillGood, settled

ROWS_AN_EXAM = 100
"""What an exam with its four crops weighs in memory, in rows of an ordinary table."""

_SHAPED_BY = ["source_id", "exam_id", "laterality"]
_REGION = [f.name for f in PREPROCESSED.schema.field("regions").type.value_type]


def unchanged_exams(root: str, exams_run: str) -> StillGood:
    """Return the fragments' rows that an earlier run of preprocess has: of exams with the same image and side.

    Args:
        root: folder or s3:// prefix.
        exams_run: run of EXAMS that is to be preprocessed.
    """

    def rows(earlier: storage.Manifest) -> Iterable[pa.Table]:
        if storage.find_run(root, CROPS.name, earlier.run_id) is None or not _has_files(root, earlier.run_id):
            return
        before = _exams(root, earlier.inputs[EXAMS.name], _SHAPED_BY)
        now = _exams(root, exams_run, [*_SHAPED_BY, "split"])
        same = {row["exam_id"]: row for row in now.join(before, _SHAPED_BY, join_type="left semi").to_pylist()}
        if not same:
            return
        wanted = pc.field("exam_id").isin(list(same))
        for part in key_ranges(ROWS_AN_EXAM * len(same)):
            kept = within("exam_id", part) & wanted
            boxes, crops = (_read(root, table, earlier.run_id, kept) for table in (REGIONS, CROPS))
            yield conform(_whole_exams(boxes, crops, same), PREPROCESSED)

    return rows


def _has_files(root: str, run_id: str) -> bool:
    """Return whether a run's files are all there: those of a non-cached archive may be deleted once it is indexed."""
    runs = [storage.published_table(root, table, run_id) for table in (REGIONS, CROPS)]
    try:
        storage.total_bytes([file for run in runs for file in storage.table_files(root, run)])
    except FileNotFoundError:
        return False
    return True


def _exams(root: str, run_id: str, columns: list[str]) -> pa.Table:
    rows = storage.read_table(root, EXAMS, run_id, columns)
    sides = pc.fill_null(rows["laterality"], "")  # a join drops nulls
    return rows.set_column(columns.index("laterality"), "laterality", sides)


def _read(root: str, table: Any, run_id: str, part: pc.Expression) -> dict[tuple[str, str], dict[str, Any]]:
    manifest = storage.published_table(root, table, run_id)
    files = storage.table_files(root, manifest)
    rows = dataset(files, table.schema).to_table(filter=part & settled()).to_pylist() if files else []
    return {(row["exam_id"], row["region"]): row for row in rows}


def _whole_exams(
    boxes: dict[tuple[str, str], dict[str, Any]],
    crops: dict[tuple[str, str], dict[str, Any]],
    same: dict[str, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Return PREPROCESSED rows of the exams that are still the same, and have all their regions."""
    out = []
    for exam_id in dict.fromkeys(exam_id for exam_id, _ in crops):
        keys = [(exam_id, region.value) for region in Region]
        if exam_id in same and all(key in boxes and key in crops for key in keys):
            rows = [{**crops[key], **boxes[key]} for key in keys]
            failed = {n: rows[0][n] for n in ("error", "error_stage", "error_message")}  # of the wrist: of the exam
            regions = [{n: row[n] for n in _REGION} for row in sorted(rows, key=lambda row: str(row["region"]))]
            key = {n: same[exam_id][n] for n in ("source_id", "exam_id", "split")}
            out.append({**key, "regions": regions, **failed})
    return out
