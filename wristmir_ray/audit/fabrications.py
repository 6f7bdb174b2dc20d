"""Made-up values, seeded into records: what share of them do the checks catch?

Each fabrication changes one thing, as a language model would get it wrong; a changed quote is looked for in the
report as an engine's is, and may stand there. Same record, kind and random stream, same fabrication.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Presence, Side
from wristmir_ray.audit.passages import Passages
from wristmir_ray.audit.values import EXAM, Value, values
from wristmir_ray.mining.findings import Alignment, Evidence, Finding, Ossification, Place, Record
from wristmir_ray.mining.grounding import ANYWHERE, Locator


class Fabrication(StrEnum):
    """What is made up."""

    INVENTED_QUOTE = "invented_quote"
    """A fracture in words of its own, as the quote of a value."""
    CHANGED_WORD = "changed_word"
    """A quote with one word replaced by another."""
    SHIFTED_SPAN = "shifted_span"
    """A true quote, said to stand some characters beside its place."""
    SWAPPED_VALUE = "swapped_value"
    """Another value of the field under the true quote."""
    INVENTED_VALUE = "invented_value"
    """A value of a field that the record leaves silent, under a true quote of another field."""
    INVENTED_FINDING = "invented_finding"
    """A fracture in a bone that the report does not name, with true quotes of another."""
    FLIPPED_PRESENCE = "flipped_presence"
    FLIPPED_SIDE = "flipped_side"


_VOCABULARY: dict[str, Sequence[Any]] = {
    "region": list(Place),
    "fracture_type": [t for t in FractureType if t is not FractureType.UNKNOWN],
    "displacement": [d for d in Displacement if d is not Displacement.UNKNOWN],
    "angulation_direction": ["dorsal", "volar", "radial", "ulnar"],
    "angulation_deg": [float(d) for d in range(5, 45, 5)],
    "alignment": list(Alignment),
    "healing": [h for h in Healing if h is not Healing.UNKNOWN],
    "physis_involved": [True, False],
    "bone_quality": ["normal", "osteopenia"],
    "immobilisation": ["cast", "splint", "none"],
    "hardware": [True, False],
    "ossification": list(Ossification),
}
_INVENTED = ("{} {} fracture of the {}", "{}, {} fracture through the {}", "{} and {} fracture at the base of the {}")
_DEGREES = ("Minimally displaced", "Subtle", "Grossly comminuted", "Healing", "Undisplaced")
_TYPES = ("spiral", "buckle", "greenstick", "stellate", "avulsion", "transverse")
_BONES = ("hamate", "radial shaft", "fifth metacarpal", "lunate", "pisiform", "ulnar diaphysis")
_WORDS = ("buckle", "no", "displaced", "radius", "healed", "left", "scaphoid", "mild", "greenstick", "possible", "ulna")


@dataclass(frozen=True)
class Source:
    """A report and its record."""

    passages: Passages
    record: Record


def fabricate(source: Source, kind: Fabrication, rng: np.random.Generator) -> Record | None:
    """Return the record with one thing made up, or None where it has nothing that could be changed so."""
    return _MAKERS[kind](source, rng)


def _pick(rng: np.random.Generator, options: Sequence[Any]) -> Any:
    return options[int(rng.integers(len(options)))]


def _quoted(record: Record) -> list[Value]:
    return [v for v in values(record) if v.quotes]


def _invented_quote(source: Source, rng: np.random.Generator) -> Record | None:
    text = _pick(rng, _INVENTED).format(_pick(rng, _DEGREES), _pick(rng, _TYPES), _pick(rng, _BONES))
    return _requoted(source, rng, lambda _: text)


def _changed_word(source: Source, rng: np.random.Generator) -> Record | None:
    def change(quote: str) -> str:
        words = quote.split()
        at = int(rng.integers(len(words)))
        words[at] = _pick(rng, [w for w in _WORDS if w != words[at].lower().strip(".,;:()")])
        return " ".join(words)

    return _requoted(source, rng, change)


def _requoted(source: Source, rng: np.random.Generator, change: Callable[[str], str]) -> Record | None:
    """Replace one value's quotes by a changed one."""
    options = _quoted(source.record)
    if not options:
        return None
    value = _pick(rng, options)
    placed = _placed(source.passages.locator, value.field, change(value.quotes[0].quote))
    return _with_evidence(source.record, value.finding, value.field, (placed,))


def _placed(locator: Locator, field: str, quote: str) -> Evidence:
    """Return a quote where the report holds its words, else at -1: what `mining.answers` makes of a model's."""
    start, end = locator.find(quote) or (-1, -1)
    text, section = (locator.text(start, end), locator.section(start)) if end > 0 else (quote, ANYWHERE)
    return Evidence.model_validate({"field": field, "quote": text, "start": start, "end": end, "section": section})


def _shifted_span(source: Source, rng: np.random.Generator) -> Record | None:
    options = _quoted(source.record)
    if not options:
        return None
    value = _pick(rng, options)
    quote = _pick(rng, value.quotes)
    step = int(_pick(rng, [k for k in range(-12, 13) if k and quote.start + k >= 0]))
    moved = quote.model_copy(update={"start": quote.start + step, "end": quote.end + step})
    quotes = tuple(moved if e is quote else e for e in value.quotes)
    return _with_evidence(source.record, value.finding, value.field, quotes)


def _swapped_value(source: Source, rng: np.random.Generator) -> Record | None:
    options = [v for v in _quoted(source.record) if v.field in _VOCABULARY]
    if not options:
        return None
    value = _pick(rng, options)
    other = _pick(rng, [v for v in _VOCABULARY[value.field] if v != value.value])
    return _with_value(source.record, value.finding, value.field, other)


def _invented_value(source: Source, rng: np.random.Generator) -> Record | None:
    record = source.record
    stated = {(v.finding, v.field) for v in values(record)}
    parts: list[tuple[int, Record | Finding]] = [(EXAM, record), *enumerate(record.findings)]
    options = [
        (at, name, part.evidence)
        for at, part in parts
        for name in _VOCABULARY
        if name in type(part).model_fields and part.evidence and (at, name) not in stated
    ]
    if not options:
        return None
    at, name, evidence = _pick(rng, options)
    borrowed = _pick(rng, evidence).model_copy(update={"field": name})
    made_up = _with_value(record, at, name, _pick(rng, _VOCABULARY[name]))
    return _with_evidence(made_up, at, name, (borrowed,))


def _invented_finding(source: Source, rng: np.random.Generator) -> Record | None:
    named = {v for m in source.passages.mentions if m.kind in {"region", "combo"} for v in m.value.split("+")}
    named |= {f.region.value for f in source.record.findings}
    free = [p for p in Place if p.value not in named]
    base = [f for f in source.record.findings if f.presence is Presence.PRESENT] or list(source.record.findings)
    if not free or not base:
        return None
    made: Finding = _pick(rng, base).model_copy(update={"region": _pick(rng, free), "presence": Presence.PRESENT})
    return source.record.model_copy(update={"findings": (*source.record.findings, made)})


def _flipped_presence(source: Source, rng: np.random.Generator) -> Record | None:
    if not source.record.findings:
        return None
    at = int(rng.integers(len(source.record.findings)))
    old = source.record.findings[at].presence
    return _with_value(source.record, at, "presence", _pick(rng, [p for p in Presence if p is not old]))


def _flipped_side(source: Source, rng: np.random.Generator) -> Record | None:
    record = source.record
    options = [i for i, f in enumerate(record.findings) if f.side is not None]
    options += [EXAM] if record.side in {"left", "right"} else []
    if not options:
        return None
    at = _pick(rng, options)
    old = record.side if at == EXAM else record.findings[at].side
    return _with_value(record, at, "side", Side.RIGHT if old == Side.LEFT else Side.LEFT)


def _with_value(record: Record, at: int, field: str, value: Any) -> Record:
    if at == EXAM:
        return record.model_copy(update={field: value})
    finding = record.findings[at].model_copy(update={field: value})
    findings = tuple(finding if i == at else f for i, f in enumerate(record.findings))
    return record.model_copy(update={"findings": findings})


def _with_evidence(record: Record, at: int, field: str, quotes: tuple[Evidence, ...]) -> Record:
    source = record if at == EXAM else record.findings[at]
    evidence = (*(e for e in source.evidence if e.field != field), *quotes)
    return _with_value(record, at, "evidence", evidence)


_MAKERS: dict[Fabrication, Callable[[Source, np.random.Generator], Record | None]] = {
    Fabrication.INVENTED_QUOTE: _invented_quote,
    Fabrication.CHANGED_WORD: _changed_word,
    Fabrication.SHIFTED_SPAN: _shifted_span,
    Fabrication.SWAPPED_VALUE: _swapped_value,
    Fabrication.INVENTED_VALUE: _invented_value,
    Fabrication.INVENTED_FINDING: _invented_finding,
    Fabrication.FLIPPED_PRESENCE: _flipped_presence,
    Fabrication.FLIPPED_SIDE: _flipped_side,
}
