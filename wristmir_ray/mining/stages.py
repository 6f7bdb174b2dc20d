"""Report mining, batch by batch, no Ray."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from wristmir_ray import keys
from wristmir_ray.anatomy import BONES, Presence, Region, Side
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.mining.captions import captions, of_side
from wristmir_ray.mining.engine import Engine, load_engine
from wristmir_ray.mining.evidence import grounded, ungrounded
from wristmir_ray.mining.findings import RECORD_FIELDS, Record
from wristmir_ray.mining.flags import flags
from wristmir_ray.schemas import CAPTIONED, CAPTIONS, FINDINGS
from wristmir_ray.tables import conform


def mine_reports(batch: pa.Table, *, engine: str, version: str) -> pa.Table:
    """Read reports into records.

    Columns: report_id, text, error -> FINDINGS. 1:1. A row that came with an error keeps it.
    Rejects: empty_report, report_too_long, not_english, not_a_wrist_report, invalid_record.
    """
    reader = load_engine(engine)
    rows = [_mine_row(row, reader, version) for row in batch.to_pylist()]
    return conform(rows, FINDINGS)


def _mine_row(row: Mapping[str, Any], engine: Engine, version: str) -> dict[str, Any]:
    lead = {"report_id": row["report_id"], "engine": engine.name, "model_digest": version, "attempts": 1}
    if row.get("error"):
        kept = {k: row.get(k) for k in ("error", "error_stage", "error_message")}
        return {**lead, "attempts": 0, "status": "rejected", "failure_class": row["error"], **kept}
    try:
        text = row["text"] or ""
        record = validated(engine.mine(text), text)
    except Exception as e:  # one bad report never stops its neighbours
        error = reject_columns(e, "mine_reports")
        return {**lead, "status": "rejected", "failure_class": error["error"], **error}
    return {
        **lead,
        "status": "ok",
        "flags": flags(text, record),
        **record.model_dump(mode="json", include=set(RECORD_FIELDS)),
    }


def validated(record: Record, report: str) -> Record:
    """Return the record once its schema holds and every quote stands in the report.

    Raises:
        Reject: invalid_record.
    """
    try:
        record = Record.model_validate(record.model_dump())
    except ValidationError as e:
        kinds = sorted({x["type"] for x in e.errors(include_url=False, include_input=False, include_context=False)})
        raise Reject(ErrorCode.INVALID_RECORD, f"the record breaks its schema: {', '.join(kinds)}") from None
    if ungrounded(report, record):
        raise Reject(ErrorCode.INVALID_RECORD, "a quote does not stand where the record says")
    return record


def pack_records(batch: pa.Table) -> pa.Table:
    """Put each record into one string, which a join can carry. Columns: FINDINGS' -> report_id, record. 1:1."""
    rows = batch.to_pylist()
    packed = [None if r["error"] else json.dumps({k: r[k] for k in RECORD_FIELDS}) for r in rows]
    return pa.table(
        {"report_id": batch["report_id"], "record": pa.array(packed, pa.string()), "mined": [True] * len(rows)}
    )


def write_captions(batch: pa.Table) -> pa.Table:
    """Caption exams.

    Columns: source_id, exam_id, report_id, laterality, view, split, record, mined -> CAPTIONED. 1:1.
    Rejects: no_report (the exam has none), no_findings (its report was rejected or not mined), nothing_reported
    (neither a finding nor a denial: no normal exam), metadata_conflict (the report is about the other side alone).
    """
    return conform([_caption_row(row) for row in batch.to_pylist()], CAPTIONED)


def _caption_row(row: Mapping[str, Any]) -> dict[str, Any]:
    out = {k: row[k] for k in ("source_id", "exam_id", "split")}
    try:
        if row["report_id"] is None:
            raise Reject(ErrorCode.NO_REPORT, "the exam has no report")
        if row["record"] is None:
            raise Reject(
                ErrorCode.NO_FINDINGS, "the exam's report was rejected" if row["mined"] else "the report was not mined"
            )
        record = grounded(Record.model_validate_json(row["record"]))
        if record.is_silent:
            raise Reject(ErrorCode.NOTHING_REPORTED, "the report states nothing of the exam that a quote carries")
        side = row["laterality"]
        there = of_side(record, side)
        if side and record.side in set(Side) - {side} and not any(f.side == side for f in there):
            raise Reject(ErrorCode.METADATA_CONFLICT, "the report is about the other side")
        made = captions(record, side, row["view"])
    except Exception as e:  # one bad exam never stops its neighbours
        return {**out, **reject_columns(e, "write_captions")}
    present = [f for f in there if f.presence is Presence.PRESENT]
    return {
        **out,
        "captions": [
            {
                "region": c.region.value,
                "caption": c.text,
                "caption_id": keys.caption_id(c.text),
                "presence": c.presence,
                "fracture_type": c.fracture_type,
                "healing": c.healing,
            }
            for c in made
        ],
        "fractures": [{"region": f.region, "fracture_type": f.fracture_type, "healing": f.healing} for f in present],
    }


def explode_captions(batch: pa.Table) -> pa.Table:
    """Columns: CAPTIONED -> CAPTIONS. 1:N, four rows an exam (wrist and `BONES`), rejects included."""
    rows = []
    for exam in batch.to_pylist():
        lead = {k: exam[k] for k in ("exam_id", "split", "error", "error_stage", "error_message")}
        made = exam["captions"] or [{"region": r.value} for r in (Region.WRIST, *BONES)]
        rows += [{**lead, **c} for c in made]
    return conform(rows, CAPTIONS)
