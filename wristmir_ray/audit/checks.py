"""What can be checked of a record without a person: each value against its quotes, and the record against the report.

    report + record -> conflicts (finding, field, kind); a record without any is trusted

The `rules` engine reads the same report a second time. It is no truth, but it is another reader, and
unlike a language model it makes nothing up.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from wristmir_ray.anatomy import Presence, Side
from wristmir_ray.audit.passages import Passage, Passages
from wristmir_ray.audit.said import denies_all, presences_of, says
from wristmir_ray.audit.values import EXAM, Value, values
from wristmir_ray.mining.findings import Evidence, Finding, Place, Record
from wristmir_ray.mining.sections import BODY


class Kind(StrEnum):
    """What is wrong with a value."""

    UNGROUNDED = "ungrounded"
    """A quote stands nowhere in the report."""
    SPAN = "span"
    """A quote does not stand where the record says."""
    UNQUOTED = "unquoted"
    """A value without a quote."""
    UNSUPPORTED = "unsupported"
    """The quotes stand, and say nothing of the field or another value."""
    HISTORY = "history"
    """A fracture quoted from outside findings and impression alone: an indication, a history, a comparison."""
    NEGATION = "negation"
    """One of record, quote, second reader and caption denies what another states."""
    HEDGING = "hedging"
    """One of record, quote and second reader is certain, another is not."""
    LATERALITY = "laterality"
    """A side that the report does not name, or names for something else."""
    METADATA = "metadata"
    """A side that is not the exam's."""
    UNREAD = "unread"
    """A finding in a bone of which the second reader finds nothing said."""
    DOUBLED = "doubled"
    """More findings of one bone than the second reader finds, or the same denied twice."""


@dataclass(frozen=True, slots=True, order=True)
class Conflict:
    """One value that is in doubt: its address and why."""

    finding: int
    field: str
    kind: Kind


def check_record(passages: Passages, record: Record, second: Record) -> list[Conflict]:
    """Return what is in doubt about a record, sorted.

    Args:
        passages: its report.
        record: what an engine read.
        second: what the `rules` engine read in the same report.
    """
    found = {Conflict(v.finding, v.field, k) for v in values(record) for k in _value(passages, v, record)}
    for i, finding in enumerate(record.findings):
        found |= {Conflict(i, field, k) for field, k in _finding(passages, finding, second)}
    found |= {Conflict(i, "region", Kind.DOUBLED) for i in _doubled(record, second)}
    found |= {Conflict(EXAM, field, k) for field, k in _exam(record, second)}
    return sorted(found)


def lost_quotes(passages: Passages, record: Record) -> tuple[int, int]:
    """Return how many quotes a record has, and how many of them do not stand where it says."""
    quotes = [e for v in values(record) for e in v.quotes]
    return len(quotes), sum(_place(passages, e) is not None for e in quotes)


def _value(passages: Passages, value: Value, record: Record) -> Iterator[Kind]:
    """Yield what is wrong with a value and its quotes."""
    if not value.quotes:
        if value.field != "side" or value.finding == EXAM:  # a finding's side may be the whole exam's
            yield Kind.UNQUOTED
        return
    lost = [k for k in (_place(passages, e) for e in value.quotes) if k is not None]
    yield from set(lost)
    if not lost and not _supported(value, [passages.at(e.start, e.end) for e in value.quotes], record):
        yield Kind.UNSUPPORTED


def _place(passages: Passages, quote: Evidence) -> Kind | None:
    if quote.start < 0:
        return Kind.UNGROUNDED
    return None if passages.report[quote.start : quote.end] == quote.quote else Kind.SPAN


def _supported(value: Value, quoted: Sequence[Passage], record: Record) -> bool:
    """Whether the quotes say the value. Of a presence, whether they state anything: `_finding` compares what."""
    said = {v for p in quoted for v in says(value.field, p)}
    if value.field == "presence":
        return bool(said)
    if value.field == "region" and record.findings[value.finding].presence is Presence.ABSENT:
        said |= {v for p in quoted for v in denies_all(p)}
    return set(value.value) <= said if isinstance(value.value, tuple) else value.value in said


def _finding(passages: Passages, finding: Finding, second: Record) -> Iterator[tuple[str, Kind]]:
    """Yield where a finding departs from its own quotes' statements and from the second reader."""
    yield from (("presence", k) for k in _history(passages, finding))
    quoted = [passages.at(e.start, e.end) for e in _standing(passages, finding)]
    stated = {p for q in quoted for p in presences_of(finding.region, q)}
    same = [f for f in second.findings if f.region is finding.region]
    sided = [f for f in same if None in (f.side, finding.side) or f.side is finding.side]
    read = {f.presence for f in sided or same}
    for other in (stated, read):
        if other and finding.presence not in other:
            denied = Presence.ABSENT in {finding.presence, *other}
            yield "presence", Kind.NEGATION if denied else Kind.HEDGING
    if not same:
        yield "region", Kind.UNREAD
    wrong = finding.side is not None and finding.side.value not in passages.sides()
    if wrong or (same and not sided):
        yield "side", Kind.LATERALITY


def _standing(passages: Passages, finding: Finding) -> list[Evidence]:
    """Return the quotes of a finding's presence that stand in the report."""
    return [e for e in finding.evidence if e.field == "presence" and _place(passages, e) is None]


def _history(passages: Passages, finding: Finding) -> Iterator[Kind]:
    quotes = _standing(passages, finding)
    outside = bool(quotes) and not any(passages.locator.section(e.start) in BODY for e in quotes)
    if outside and finding.presence is not Presence.ABSENT:
        yield Kind.HISTORY


def _doubled(record: Record, second: Record) -> Iterator[int]:
    """Yield the findings of a bone beyond as many as the second reader finds there, and what is denied once more."""
    read = Counter(f.region for f in second.findings)
    seen: Counter[Place] = Counter()
    denied: set[tuple[Place, Side | None]] = set()
    for i, finding in enumerate(record.findings):
        seen[finding.region] += 1
        absent = {(finding.region, finding.side)} if finding.presence is Presence.ABSENT else set()
        if 0 < read[finding.region] < seen[finding.region] or absent & denied:
            yield i
        denied |= absent


def _exam(record: Record, second: Record) -> Iterator[tuple[str, Kind]]:
    """Yield where the exam's own fields deny what the second reader states."""
    if record.side and second.side and record.side != second.side:
        yield "side", Kind.LATERALITY
    casts = (record.immobilisation, second.immobilisation)
    if None not in casts and casts.count("none") == 1:
        yield "immobilisation", Kind.NEGATION
    if None not in (record.hardware, second.hardware) and record.hardware != second.hardware:
        yield "hardware", Kind.NEGATION
