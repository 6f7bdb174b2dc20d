"""Quotes that stand in the report, letter for letter."""

from collections.abc import Iterable
from typing import Any

from wristmir_ray.mining.drafts import Span
from wristmir_ray.mining.findings import EXAM_FIELDS, MAX_EVIDENCE, MAX_QUOTE, Evidence, Finding, Record


def quote(report: str, spans: Iterable[Span]) -> tuple[Evidence, ...]:
    """Return the spans as evidence: `report[start:end] == quote`, without doubles, in reading order."""
    seen: dict[tuple[str, int, int], Evidence] = {}
    for s in sorted(spans, key=lambda s: (s.start, s.end, s.field)):
        text = report[s.start : s.end]
        if text and len(text) <= MAX_QUOTE:
            plain = {"field": s.field, "quote": text, "start": s.start, "end": s.end, "section": s.section}
            seen.setdefault((s.field, s.start, s.end), Evidence.model_validate(plain))
    return tuple(seen.values())[:MAX_EVIDENCE]


def ungrounded(report: str, record: Record) -> int:
    """Return how many quotes of a record do not stand where they claim to."""
    quotes = [e for f in record.findings for e in f.evidence] + list(record.evidence)
    return sum(e.start < 0 or report[e.start : e.end] != e.quote for e in quotes)


def grounded(record: Record) -> Record:
    """Return what of a record quotes in the report carry.

    A finding without a quote for its place or its presence is left out; any other value without one
    is as if the report were silent on it. A finding's side may come from the whole exam, and so
    stands without a quote of its own, but not with one that was not found.
    """
    findings = (f.model_copy(update=_unfounded(f, _DETAILS)) for f in record.findings if f.grounded)
    return record.model_copy(update={**_unfounded(record, EXAM_FIELDS), "findings": tuple(findings)})


_DETAILS = tuple(n for n in Finding.model_fields if n not in {"region", "presence", "evidence"})


def _unfounded(holder: Finding | Record, names: Iterable[str]) -> dict[str, Any]:
    """Return the defaults of the fields that no quote carries."""
    found = {e.field for e in holder.evidence if e.start >= 0}
    lost = {e.field for e in holder.evidence} - found
    free = {n for n in names if n == "side" and isinstance(holder, Finding) and n not in lost}
    fields = type(holder).model_fields
    return {n: fields[n].default for n in names if n not in found | free}
