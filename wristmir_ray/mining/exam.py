"""What a report says of the exam as a whole: side, views, bones, cast, hardware, ossification, what else is seen."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from wristmir_ray.anatomy import View
from wristmir_ray.mining.drafts import Span
from wristmir_ray.mining.findings import EXAM_FIELDS, Ossification, Other
from wristmir_ray.mining.remarks import Standing, read_remarks, standing
from wristmir_ray.mining.sections import BODY
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token

Sentences = Sequence[tuple[str, Sequence[Token], Sequence[Mention]]]
"""Section kind, tokens and mentions of every sentence."""

_PLACED = frozenset({"procedure", "technique"})
_GONE = frozenset(["off", "prior", "previous", "previously", "former"])


@dataclass(slots=True)
class Exam:
    """Exam-level fields and the characters that carry them."""

    side: str | None = None
    views: tuple[View, ...] = ()
    bone_quality: str | None = None
    immobilisation: str | None = None
    hardware: bool | None = None
    ossification: str | None = None
    other: tuple[Other, ...] = ()
    spans: list[Span] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """Return the fields of a Record that this gives."""
        return {n: getattr(self, n) for n in EXAM_FIELDS}


def read_exam(sentences: Sentences) -> Exam:
    """Read the exam-level fields of a report."""
    exam = Exam()
    _read_side(exam, sentences)
    _read_views(exam, sentences)
    for section, tokens, mentions in sentences:
        if section not in BODY:
            continue
        for m in mentions:
            if m.kind in {"immob", "hardware", "bone"}:
                _read_state(exam, section, tokens, mentions, m)
        _read_remarks(exam, section, tokens, mentions)
    exam.other = tuple(o for o in Other if o in exam.other)
    return exam


def _read_side(exam: Exam, sentences: Sentences) -> None:
    """The side of the title, else of the body, else of the indication: two sides are `bilateral`."""
    for wanted in (_PLACED, BODY, frozenset({"indication", "history"})):
        found = [s for section, tokens, ms in sentences if section in wanted for s in _sides(section, tokens, ms)]
        if found:
            values = {value for value, _ in found}
            exam.side = values.pop() if len(values) == 1 else "bilateral"
            exam.spans += dict(reversed(found)).values()  # the first of each
            return


def _sides(section: str, tokens: Sequence[Token], mentions: Sequence[Mention]) -> Iterator[tuple[str, Span]]:
    for m in mentions:
        both = m.kind == "all" and tokens[m.first].text == "both"  # `both wrists`
        if both or m.kind == "side":
            yield "bilateral" if both else m.value, Span("side", m.start, m.end, section)


def _read_views(exam: Exam, sentences: Sentences) -> None:
    found: dict[View, Span] = {}
    for section, tokens, mentions in sentences:
        for m in mentions:
            if m.kind == "view" and (section in _PLACED or _names_views(tokens)):
                words = {t.text for t in tokens[m.first : m.last + 1]}
                for view in _views(words, m.value):
                    found.setdefault(view, Span("views", m.start, m.end, section))
    exam.views = tuple(v for v in View if v in found)
    exam.spans += [found[v] for v in exam.views]


def _views(words: set[str], value: str) -> Iterable[View]:
    yield View(value)
    if "lateral" in words:
        yield View.LATERAL
    if "oblique" in words:
        yield View.OBLIQUE
    if words & {"pa", "ap", "frontal"}:
        yield View.PA


def _names_views(tokens: Sequence[Token]) -> bool:
    return any(
        t.text in {"view", "views", "projection", "projections", "radiograph", "radiographs", "films", "images"}
        for t in tokens
    )


def _read_state(exam: Exam, section: str, tokens: Sequence[Token], mentions: Sequence[Mention], m: Mention) -> None:
    stands = standing(tokens, mentions, m)
    if stands is Standing.DOUBTED:
        return
    gone = any(t.text in _GONE for t in tokens[max(0, m.first - 4) : m.last + 6])
    there = stands is Standing.STATED and not gone
    span = Span({"immob": "immobilisation", "bone": "bone_quality"}.get(m.kind, m.kind), m.start, m.end, section)
    if m.kind == "immob":
        if exam.immobilisation is None:
            exam.immobilisation = m.value if there else "none"
            exam.spans.append(span)
    elif m.kind == "hardware" and exam.hardware is None:
        exam.hardware = there
        exam.spans.append(span)
    elif m.kind == "bone" and stands is Standing.STATED and exam.bone_quality != "osteopenia":
        exam.bone_quality = m.value
        exam.spans = [s for s in exam.spans if s.field != "bone_quality"] + [span]


def _read_remarks(exam: Exam, section: str, tokens: Sequence[Token], mentions: Sequence[Mention]) -> None:
    """Take what is stated; a word more telling than `normal` wins, else the first."""
    for remark in read_remarks(tokens, mentions):
        m, span = remark.mention, Span(remark.mention.kind, remark.mention.start, remark.mention.end, section)
        if not remark.stated:
            continue
        if m.kind == "other":
            exam.other = (*exam.other, Other(m.value))
            exam.spans.append(span)
        elif exam.ossification in {None, Ossification.NORMAL}:
            exam.ossification = Ossification(m.value)
            exam.spans = [s for s in exam.spans if s.field != "ossification"] + [span]
