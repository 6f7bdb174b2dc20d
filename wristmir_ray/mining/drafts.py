"""A finding in the making, and how its words unite."""

from dataclasses import dataclass, field

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.findings import Place
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Value, Values

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


def confirmed(old: Draft, presence: Span) -> Draft:
    """Return the draft of a fracture of the history that the body confirms: its bone and its type."""
    evidence = [e for e in old.evidence if e.field in {"region", "fracture_type"}]
    values = {n: v for n, v in old.values.items() if n == "fracture_type"}
    return Draft(old.place, old.side, Presence.PRESENT, values, [*evidence, presence])


def _refines(name: str, old: str, new: str) -> bool:
    if name == "fracture_type":
        return new.startswith(old + "_") or (old == "incomplete" and new in _INCOMPLETE)
    if name == "healing":
        return old == "healing" and new in {"healed", "nonunion"}
    return name == "displacement" and old == "present" and new != "none"


def _same_type(a: str, b: str) -> bool:
    if a == b or a.startswith(b + "_") or b.startswith(a + "_"):
        return True
    return (a == "incomplete" and b in _INCOMPLETE) or (b == "incomplete" and a in _INCOMPLETE)


def places(mention: Mention) -> list[Place]:
    """Return the places a bone's name stands for (`both bones` is two)."""
    return [Place(v) for v in mention.value.split("+")]
