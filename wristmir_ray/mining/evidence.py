"""Quotes that stand in the report, letter for letter."""

from collections.abc import Iterable

from wristmir_ray.mining.drafts import Span
from wristmir_ray.mining.findings import MAX_EVIDENCE, MAX_QUOTE, Evidence, Record


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
