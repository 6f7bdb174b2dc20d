"""What a report has just spoken of, for statements that name no bone (`it`, `the latter`, `both`)."""

from collections.abc import Sequence

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.drafts import Draft
from wristmir_ray.mining.statements import Statement


class Focus:
    """The fractures of this sentence and of the one before that had any."""

    def __init__(self) -> None:
        self._before: list[Draft] = []
        self._now: list[Draft] = []
        self._pair: list[Draft] = []
        """The last sentence's fractures that were more than one, for `the first ... The second ...`."""

    def take(self, draft: Draft) -> None:
        """Note that this sentence speaks of a fracture."""
        if draft not in self._now:
            self._now.append(draft)

    def turn(self) -> None:
        """Make what this sentence spoke of what the next one may refer to."""
        if self._now:
            self._pair = self._now if len(self._now) > 1 else self._pair
            self._before, self._now = self._now, []

    def latest(self) -> list[Draft]:
        """Return the fractures last spoken of."""
        return self._now or self._before

    def referred(self, s: Statement, present: Sequence[Draft]) -> list[Draft]:
        """Return the drafts that a statement without bones speaks of.

        Args:
            s: the statement.
            present: the report's drafts that are not absent.
        """
        focus = self.latest()
        if s.shared and not self._now:
            return [d for d in present if d.presence is Presence.PRESENT] or focus
        if s.ref and len(focus) < 2 <= len(self._before):
            focus = self._before
        pair = focus if len(focus) > 1 else self._pair
        if s.ref in {"former", "latter"} and pair:
            return [pair[0] if s.ref == "former" else pair[-1]]
        if s.ref == "both" or (s.plural and s.known):
            return focus if len(focus) > 1 else list(present)
        if len(displaced := _displaced(s, focus, present)) == 1:
            return displaced
        fitting = [d for d in focus if d.fits(s.values)] or [d for d in present if d.fits(s.values)][-1:]
        return fitting[-1:] if s.kind == "fracture" and not s.known and not s.plural else fitting


def _displaced(s: Statement, focus: Sequence[Draft], present: Sequence[Draft]) -> list[Draft]:
    """Return what a degree must be about: the one displaced fracture (`The displacement is moderate`)."""
    degree = s.values.get("displacement")
    if s.kind != "attribute" or degree is None or degree.value in {"none", "present"}:
        return []
    found = [d for d in present if (v := d.values.get("displacement")) is not None and v.value == "present"]
    return [] if any(d in focus for d in found) else found
