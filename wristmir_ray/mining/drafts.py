"""A finding in the making, and how its words unite."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.findings import Place
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Value, Values

ELSEWHERE = "elsewhere"
"""A bone of another joint: what is said of it is no finding of the wrist."""
_INCOMPLETE = frozenset({"buckle", "greenstick", "plastic_bowing", "transverse", "oblique"})


@dataclass(slots=True)
class Span:
    """Characters [start, end) of a section that carry `field`."""

    field: str
    start: int
    end: int
    section: str


@dataclass(slots=True)
class Draft:
    """A finding in the making."""

    place: Place
    side: str | None
    presence: Presence
    values: dict[str, Value] = field(default_factory=dict)
    evidence: list[Span] = field(default_factory=list)
    weak: bool = False
    sign: bool = False
    """Weak, and without a word of doubt that would make it a possible fracture."""
    asked: bool = False
    """The question that opens a report without headings (`?# radius`): a denial answers it."""
    known: bool = False
    """The body's first word of it is of one already spoken of (`the fracture`), so that the history may complete it."""

    def set(self, name: str, value: Value, section: str) -> None:
        """Give a field its value, or a more precise one; the first word stays otherwise."""
        old = self.values.get(name)
        if old is not None and old.value != value.value:
            if not value.now and not _refines(name, str(old.value), str(value.value)):
                return
            self.evidence = [e for e in self.evidence if e.field != name]
        if old is None or old.value != value.value:
            self.values[name] = value
        self.evidence.append(Span(name, value.start, value.end, section))

    def settle(self, presence: Presence, said: Span) -> None:
        """Answer the question whether the fracture is there."""
        self.presence = presence
        self.values = {} if presence is Presence.ABSENT else self.values
        self.evidence = [*(e for e in self.evidence if e.field == "region"), said]

    def fits(self, values: Values) -> bool:
        """Whether these values can be said of the same fracture."""
        mine, theirs = self.values.get("fracture_type"), values.get("fracture_type")
        if mine is not None and theirs is not None and not _same_type(str(mine.value), str(theirs.value)):
            return False
        a, b = self.values.get("healing"), values.get("healing")
        return a is None or b is None or (a.value == "acute") == (b.value == "acute")


def belonging(drafts: Sequence[Draft], place: Place, side: str | None, s: Statement) -> Draft | None:
    """Return the draft that a statement about this bone belongs to, None where it starts another."""
    same = [d for d in drafts if d.place is place and (d.side == side or None in (d.side, side))]
    there = [d for d in same if (d.presence is Presence.ABSENT) == (s.presence is Presence.ABSENT)]
    fitting = [d for d in there if d.fits(s.values)] if not s.second or len(there) > 1 else []
    return fitting[-1] if fitting else None


def answered(drafts: Sequence[Draft], s: Statement, whole: bool) -> list[Draft]:
    """Return the drafts without the question that the report opened with, where a denial answers it.

    Args:
        drafts: so far.
        s: a denial.
        whole: whether one without bones is about all bones, not those of a list header.
    """
    denied = {p for r in s.regions for p in places(r)}
    every = whole and s.whole and not s.rest and not s.regions
    if s.corrects:
        _retract(drafts, s, denied, every)
    return [d for d in drafts if not (d.asked and (every or d.place in denied))]


def _retract(drafts: Sequence[Draft], s: Statement, denied: Collection[Place], every: bool) -> None:
    """Take back what a correction denies (`the fracture is of the ulna, not the radius`): the ulna's has its values."""
    for old in drafts:
        if (
            old.presence is Presence.ABSENT
            or not (every or old.place in denied)
            or (s.side and old.side not in (None, s.side))
        ):
            continue
        heirs = [d for d in drafts if d.known and d.place not in denied and d.presence is Presence.PRESENT]
        for heir in [d for d in heirs[-1:] if not d.values]:
            heir.values = dict(old.values)
            heir.evidence += [e for e in old.evidence if e.field in old.values]
        old.values, old.presence, old.evidence = {}, Presence.ABSENT, []


def _refines(name: str, old: str, new: str) -> bool:
    if name == "fracture_type":
        return new.startswith(old + "_") or (old == "incomplete" and new in _INCOMPLETE)
    if name == "healing":
        return (old == "healing" and new in {"healed", "nonunion"}) or (old, new) == ("healed", "nonunion")
    return name == "displacement" and old == "present" and new != "none"


def _same_type(a: str, b: str) -> bool:
    if a == b or a.startswith(b + "_") or b.startswith(a + "_"):
        return True
    return (a == "incomplete" and b in _INCOMPLETE) or (b == "incomplete" and a in _INCOMPLETE)


def places(mention: Mention) -> list[Place]:
    """Return the places a bone's name stands for (`both bones` is two, the humerus none)."""
    return [Place(v) for v in mention.value.split("+") if v != ELSEWHERE]
