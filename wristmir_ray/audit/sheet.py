"""The sheet that people mark: one HTML file that stands alone, reports beside their records.

It holds report text, so it is written into the archive's own folder and nowhere else.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wristmir_ray import keys
from wristmir_ray.audit.values import EXAM, Value, values
from wristmir_ray.mining.findings import Record

TEMPLATE = Path(__file__).with_name("sheet.html.jinja")


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of a report's characters that the same values quote; `title` names their fields."""

    text: str
    values: str = ""
    title: str = ""


@dataclass(frozen=True)
class Card:
    """One report of the sheet."""

    report_id: str
    sides: str
    """Laterality of its exams by the metadata."""
    segments: Sequence[Segment]
    groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    """Title (the exam, or a finding's place) and its values as the template reads them."""


@dataclass(frozen=True)
class Sampled:
    """What one card is made of."""

    report_id: str
    text: str
    record: Record
    conflicts: Sequence[Mapping[str, Any]] = ()
    sides: Sequence[str] = field(default=())


def template_digest() -> str:
    """Return a hash of the page's template: a sheet made from another one is another run."""
    return keys.digest(TEMPLATE.read_bytes())


def sheet(sampled: Sequence[Sampled], audit_run: str, seed: int) -> str:
    """Return the page.

    Args:
        sampled: the reports in the order in which they are marked.
        audit_run: run of AUDIT; the downloaded marks name it.
        seed: of the sample.
    """
    import jinja2

    folder = jinja2.FileSystemLoader(TEMPLATE.parent)
    template = jinja2.Environment(loader=folder, autoescape=True, trim_blocks=True).get_template(TEMPLATE.name)
    return template.render(cards=[card(s) for s in sampled], audit=audit_run, seed=seed)


def card(sampled: Sampled) -> Card:
    """Return one report with its values numbered and their quotes as segments."""
    stated = list(values(sampled.record))
    doubts: dict[tuple[int, str], list[str]] = defaultdict(list)
    for c in sampled.conflicts:
        doubts[c["finding"], c["field"]].append(c["kind"])
    groups: dict[int, list[dict[str, Any]]] = {}
    for at, v in enumerate(stated):
        lost = [q.quote for q in v.quotes if q.start < 0 or sampled.text[q.start : q.end] != q.quote]
        shown = {"at": at, "finding": v.finding, "field": v.field, "name": v.field.replace("_", " "), "words": v.words}
        groups.setdefault(v.finding, []).append({**shown, "lost": lost, "doubts": doubts.get((v.finding, v.field), [])})
    titled = [(_title(sampled.record, at), group) for at, group in groups.items()]
    return Card(sampled.report_id, ", ".join(sampled.sides), segments(sampled.text, stated), titled)


def _title(record: Record, at: int) -> str:
    if at == EXAM:
        return "Exam"
    finding = record.findings[at]
    return f"Finding {at + 1}: {finding.region.words}, {finding.presence.value}"


def segments(text: str, stated: Sequence[Value]) -> list[Segment]:
    """Return the report cut wherever a quote starts or ends; joined again, the segments are the report."""
    spans = [(q.start, q.end, at) for at, v in enumerate(stated) for q in v.quotes if 0 <= q.start < q.end <= len(text)]
    cuts = sorted({0, len(text), *(s for s, _, _ in spans), *(e for _, e, _ in spans)})
    out = []
    for start, end in itertools.pairwise(cuts):
        own = list(dict.fromkeys(at for s, e, at in spans if s <= start and end <= e))
        names = dict.fromkeys(stated[at].field.replace("_", " ") for at in own)
        out.append(Segment(text[start:end], " ".join(map(str, own)), ", ".join(names)))
    return out
