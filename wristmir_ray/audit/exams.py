"""The record against the exams it stands for: their side by the metadata, and their captions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wristmir_ray.anatomy import BONES, Presence, Region
from wristmir_ray.audit.checks import Conflict, Kind
from wristmir_ray.audit.values import EXAM
from wristmir_ray.mining.findings import Record

CAPTION = "caption"
"""`field` of a conflict between a caption and the report."""
_NONE = "no fracture"


@dataclass(frozen=True, slots=True)
class CaptionedRegion:
    """One row of CAPTIONS with its exam's laterality; a part that is not known is None."""

    laterality: str | None
    region: str | None
    caption: str | None
    presence: str | None


def check_exams(record: Record, second: Record, exams: Sequence[CaptionedRegion]) -> list[Conflict]:
    """Return where a record departs from the metadata of its exams, and their captions from the report.

    Args:
        record: what an engine read.
        second: what the `rules` engine read in the same report.
        exams: the captions of every exam of this report, region by region.
    """
    sides = {e.laterality for e in exams if e.laterality}
    found = set(_metadata(record, sides)) if sides else set()
    for e in exams:
        found |= {Conflict(EXAM, CAPTION, k) for k in _caption(record, second, e)}
    return sorted(found)


def _metadata(record: Record, sides: set[str]) -> Iterator[Conflict]:
    """Yield sides that are no exam's; a report of both wrists may have an exam of one."""
    if record.side in {"left", "right"} and record.side not in sides:
        yield Conflict(EXAM, "side", Kind.METADATA)
    if record.side != "bilateral":
        for i, finding in enumerate(record.findings):
            if finding.side is not None and finding.side.value not in sides:
                yield Conflict(i, "side", Kind.METADATA)


def _caption(record: Record, second: Record, exam: CaptionedRegion) -> Iterator[Kind]:
    if exam.caption is None:
        return
    if exam.region == Region.WRIST:
        named = exam.caption.split()[0].lower()
        if named in {"left", "right"}:
            if exam.laterality and named != exam.laterality:
                yield Kind.METADATA
            if record.side in {"left", "right"} and named != record.side:
                yield Kind.LATERALITY
    elif exam.region in BONES:
        shown = _NONE not in exam.caption
        read = _read(second, exam)
        says_other = bool(read) and (shown == (read == {Presence.ABSENT}))
        if says_other or shown != (exam.presence not in {None, Presence.ABSENT.value}):
            yield Kind.NEGATION


def _read(second: Record, exam: CaptionedRegion) -> set[Presence]:
    """Return what the second reader finds in the exam's bone: on its side, where the report is of both."""
    found = [f for f in second.findings if f.region.value == exam.region]
    if second.side == "bilateral" and exam.laterality:
        found = [f for f in found if f.side is None or f.side.value == exam.laterality]
    return {f.presence for f in found}
