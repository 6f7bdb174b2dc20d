"""What indication, history and comparison claim: no finding, but what the body may confirm or leave to them to tell."""

from collections.abc import Iterator

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.drafts import Draft, Span, places
from wristmir_ray.mining.findings import Place
from wristmir_ray.mining.statements import Statement


class History:
    """The fractures that are claimed of another time or by another person."""

    def __init__(self) -> None:
        self._told: list[Draft] = []

    def hear(self, s: Statement, side: str | None, section: str) -> None:
        """Take a statement, bone by bone."""
        for mention in s.regions:
            for place in places(mention):
                draft = Draft(place, side, Presence.UNCERTAIN if s.question else s.presence)
                draft.evidence += [
                    Span("region", mention.start, mention.end, section),
                    Span("presence", s.start, s.end, section),
                ]
                for name, value in s.values.items():
                    draft.set(name, value, section)
                self._told.append(draft)

    def names(self, place: Place) -> bool:
        """Whether a fracture of this bone is claimed."""
        return any(d.place is place for d in self._told)

    def confirmed(self, presence: Span) -> Iterator[Draft]:
        """Yield the fractures claimed, as findings that the body confirms: their bone and their type."""
        for old in {(d.place, d.side): d for d in self._told}.values():
            evidence = [e for e in old.evidence if e.field in {"region", "fracture_type"}]
            values = {n: v for n, v in old.values.items() if n == "fracture_type"}
            yield Draft(old.place, old.side, Presence.PRESENT, values, [*evidence, presence])

    def complete(self, draft: Draft) -> None:
        """Give a fracture that the body speaks of as known, without its type, the one type that is claimed of it."""
        if draft.presence is not Presence.PRESENT or not draft.known or "fracture_type" in draft.values:
            return
        told = [d for d in self._told if d.place is draft.place and d.presence is Presence.PRESENT]
        sided = [d for d in told if d.side == draft.side or None in (d.side, draft.side)]
        typed = [d for d in sided if "fracture_type" in d.values]
        if len({str(d.values["fracture_type"].value) for d in typed}) == 1:
            for name in ("fracture_type", "physis_involved"):
                if name in typed[0].values:
                    draft.values[name] = typed[0].values[name]
                    draft.evidence += [e for e in typed[0].evidence if e.field == name]
