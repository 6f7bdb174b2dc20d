"""The audit, report by report, no Ray: what belongs to one report meets as *parts*, and becomes one row.

A part is (report_id, part, payload): its text, its record, or one captioned region of one of its exams.
All payloads are strings, since a shuffle carries no nested columns.
"""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.audit.checks import Conflict, check_record, lost_quotes
from wristmir_ray.audit.exams import CaptionedRegion, check_exams
from wristmir_ray.audit.passages import Passages
from wristmir_ray.audit.values import values
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.mining.attempts import stored
from wristmir_ray.mining.findings import CROPPED, RECORD_FIELDS, Record
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.scoring import disagreements
from wristmir_ray.schemas import AUDIT
from wristmir_ray.tables import conform

STAGE = "audit_reports"
TEXT, RECORD, EXAM = "text", "record", "exam"
PARTS = pa.schema([("report_id", pa.string()), ("part", pa.string()), ("payload", pa.string())])
_KEPT = ("status", "engine", "error", "error_stage", "error_message", *RECORD_FIELDS)
_CAPTIONED = ("laterality", "region", "caption", "presence")


def pack_texts(batch: pa.Table) -> pa.Table:
    """Columns: report_id, text -> PARTS. 1:1."""
    return _parts(batch["report_id"], TEXT, batch["text"])


def pack_records(batch: pa.Table) -> pa.Table:
    """Columns: FINDINGS' -> PARTS. 1:1, rejects included."""
    packed = [json.dumps({n: row[n] for n in _KEPT}) for row in batch.to_pylist()]
    return _parts(batch["report_id"], RECORD, packed)


def with_report(batch: pa.Table) -> pa.Table:
    """Columns: report_id and others -> the same. 1:0-1, exams without a report left out: nothing was mined of them."""
    return batch.filter(pc.is_valid(batch["report_id"]))


def pack_exams(batch: pa.Table) -> pa.Table:
    """Columns: report_id, laterality, region, caption, presence -> PARTS. 1:1, one captioned region of one exam."""
    packed = [json.dumps({n: row[n] for n in _CAPTIONED}) for row in batch.to_pylist()]
    return _parts(batch["report_id"], EXAM, packed)


def _parts(ids: Any, part: str, payloads: Any) -> pa.Table:
    return pa.table({"report_id": ids, "part": [part] * len(ids), "payload": payloads}, schema=PARTS)


def audit_report(group: pa.Table) -> pa.Table:
    """Check one report.

    Columns: PARTS -> AUDIT. N:1, all parts of one report in, one row out.
    Rejects: no_findings (the report was not mined), and what came with an error.
    """
    parts: dict[str, list[str]] = {TEXT: [], RECORD: [], EXAM: []}
    for part, payload in zip(group["part"].to_pylist(), group["payload"].to_pylist(), strict=True):
        parts[part].append(payload)
    return conform([_row(group["report_id"][0].as_py(), parts)], AUDIT)


def _row(report_id: str, parts: Mapping[str, list[str]]) -> dict[str, Any]:
    lead: dict[str, Any] = {"report_id": report_id}
    try:
        if not parts[RECORD] or not parts[TEXT]:
            raise Reject(ErrorCode.NO_FINDINGS, "the report was not mined")
        mined = json.loads(parts[RECORD][0])
        lead |= {n: mined[n] for n in ("status", "engine")}
        if mined["error"]:
            return {**lead, **{n: mined[n] for n in ("error", "error_stage", "error_message")}}
        exams = [CaptionedRegion(**json.loads(p)) for p in parts[EXAM]]
        return {**lead, **checked(parts[TEXT][0] or "", record_of(mined), exams)}
    except Exception as e:  # one bad report never stops its neighbours
        return {**lead, **reject_columns(e, STAGE)}


def record_of(row: Mapping[str, Any]) -> Record:
    """Return the record of a row of FINDINGS."""
    return Record.model_validate({n: row[n] for n in RECORD_FIELDS if row[n] is not None})


def checked(text: str, record: Record, exams: list[CaptionedRegion]) -> dict[str, Any]:
    """Return the columns of AUDIT for one report and its record.

    Raises:
        Reject: the second reader refuses the report.
    """
    passages, second = Passages(text), mine(text)
    conflicts = [*check_record(passages, record, second), *check_exams(record, second, exams)]
    quotes, lost = lost_quotes(passages, record)
    return {
        "presence": "+".join(sorted({f.presence for f in record.findings if f.region in CROPPED})) or "none",
        "fields": [v.field for v in values(record)],
        "quotes": quotes,
        "quotes_lost": lost,
        "conflicts": [_plain(c) for c in conflicts],
        "rules_disagree": disagreements(stored(record)["findings"], stored(second)["findings"]),
        "trusted": not conflicts,
    }


def _plain(conflict: Conflict) -> dict[str, Any]:
    return {"finding": conflict.finding, "field": conflict.field, "kind": conflict.kind.value}
