"""A language model's answers as rows: good, to be repaired once, or rejected with a failure class. No Ray."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.mining.answers import AnswerFailure, FailureClass, read_answer
from wristmir_ray.mining.findings import RECORD_FIELDS, Record
from wristmir_ray.mining.flags import flags
from wristmir_ray.mining.rules import mine
from wristmir_ray.schemas import ATTEMPTS
from wristmir_ray.tables import conform

STAGE = "mine_reports"
OPEN = "open"
"""Status of a report that has not been asked for yet (no hint), or that gets a second try (with one)."""
_REFUSED = {
    ErrorCode.EMPTY_REPORT,
    ErrorCode.REPORT_TOO_LONG,
    ErrorCode.NOT_ENGLISH,
    ErrorCode.NOT_A_WRIST_REPORT,
}
ANSWERS = pa.schema(
    [
        ("report_id", pa.string()),
        ("text", pa.string()),
        ("hint", pa.string()),
        ("answer", pa.string()),
        ("cut", pa.bool_()),
        ("tokens_in", pa.int32()),
        ("tokens_cached", pa.int32()),
        ("tokens_out", pa.int32()),
        ("failure", pa.string()),
        ("message", pa.string()),
    ]
)
"""A row is one report with the model's raw answer; `cut`: it stopped at the limit of tokens. Never published."""

_NO_ANSWER = (
    FailureClass.TIMEOUT,
    FailureClass.UNREACHABLE,
    FailureClass.UNREADABLE,
    FailureClass.ENGINE_ERROR,
    FailureClass.ENGINE_DEATH,
)
_CODES = dict.fromkeys(_NO_ANSWER, ErrorCode.NO_ANSWER)


def refuse_reports(batch: pa.Table, *, lead: Mapping[str, Any]) -> pa.Table:
    """Settle what no model needs to read, and leave the rest open.

    Columns: report_id, text, error, error_stage, error_message -> ATTEMPTS. 1:1.
    Rejects: empty_report, report_too_long, not_english, not_a_wrist_report, and what came with an error. An open
    row has status `open`.
    """
    return conform([_refuse(row, lead) for row in batch.to_pylist()], ATTEMPTS)


def _refuse(row: Mapping[str, Any], lead: Mapping[str, Any]) -> dict[str, Any]:
    own = {**lead, "report_id": row["report_id"], "attempts": 0}
    if row["error"]:
        kept = {k: row[k] for k in ("error", "error_stage", "error_message")}
        return {**own, "status": "rejected", "failure_class": row["error"], **kept}
    try:
        mine(row["text"] or "")
    except Exception as e:  # a report that breaks the rules may still be one for a model
        if isinstance(e, Reject) and e.code in _REFUSED:
            return {**own, "status": "rejected", "failure_class": e.code.value, **e.columns(STAGE)}
    return {**own, "status": OPEN, "text": row["text"]}


def judge_answers(batch: pa.Table, *, lead: Mapping[str, Any], attempt: int) -> pa.Table:
    """Turn raw answers into records.

    Columns: ANSWERS -> ATTEMPTS. 1:1. Failures of the first attempt that the model can mend become
    status `open` again, with a hint; others, and all of the second, are rejected with their class.
    """
    return conform([_judge(row, lead, attempt) for row in batch.to_pylist()], ATTEMPTS)


def _judge(row: Mapping[str, Any], lead: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    tokens = {n: row[n] for n in ("tokens_in", "tokens_cached", "tokens_out")}
    own = {**lead, "report_id": row["report_id"], "attempts": attempt, **tokens}
    if row["failure"]:
        return {**own, **rejected(FailureClass(row["failure"]), row["message"] or "")}
    try:
        record = read_answer(row["answer"], "length" if row["cut"] else "stop", row["text"])
        found = {"flags": flags(row["text"], record), **stored(record)}
    except AnswerFailure as e:
        if attempt == 1:
            return {**own, "status": OPEN, "failure_class": e.failure, "text": row["text"], "hint": e.hint}
        return {**own, **rejected(e.failure, e.wrong)}
    except Exception as e:  # an answer that breaks our own code is one bad row, never a dead job
        return {**own, "status": "rejected", "failure_class": "stage_failed", **reject_columns(e, STAGE)}
    return {**own, "status": "ok" if attempt == 1 else "repaired", **found}


def rejected(failure: FailureClass, message: str) -> dict[str, Any]:
    """Return the columns of a report without a record."""
    columns = Reject(_CODES.get(failure, ErrorCode.INVALID_RECORD), message).columns(STAGE)
    return {"status": "rejected", "failure_class": failure.value, **columns}


def stored(record: Record) -> dict[str, Any]:
    """Return a record as FINDINGS has it."""
    return record.model_dump(mode="json", include=set(RECORD_FIELDS))
