"""What a report has said so far: statements in, findings out.

Rules, in this order:
- A statement with bones is about these. One without takes the bones of its list header (`Distal
  radius: ...`), else of what was just spoken of (`it`, `the fracture`, `the latter`, `both`), else,
  where it denies a fracture, all three.
- The same bone and side again is the same finding, its fields united, unless the types differ or
  the report says `second`, `another`, `separate`.
- The strongest word wins over the whole body: present, then uncertain, then absent.
- What the indication or the history claims makes no finding; its bones and their types are what `callus
  is seen` refers to where the body itself names none, and of `the fracture` of a bone it may tell the type.
- The question that opens a report without headings (`?# radius`) is answered by a denial.
"""

from collections.abc import Sequence
from dataclasses import replace

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.drafts import Draft, Span, answered, belonging, places
from wristmir_ray.mining.ellipsis import echoed
from wristmir_ray.mining.findings import Place
from wristmir_ray.mining.focus import Focus
from wristmir_ray.mining.history import History
from wristmir_ray.mining.sections import BODY
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.verdict import conclude

_RANK = {Presence.ABSENT: 0, Presence.UNCERTAIN: 1, Presence.PRESENT: 2}
_SIGN_HEADS = frozenset({"weak", "lucency"})
_MAX_DRAFTS = 48


class Ledger:
    """Takes statements in reading order; `section`, `header` and `side` are set by the reader."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.denials: list[tuple[str | None, Span]] = []
        self.section = "body"
        self.header: list[Mention] = []
        self.header_filled = self.header_open = True
        self.side: str | None = None
        self._focus = Focus()
        self._history = History()
        self._last: list[tuple[Place, Mention]] = []
        self._named: list[tuple[Place, Mention]] = []
        """Bones that this sentence has named without saying anything of them."""
        self._topic: list[tuple[Place, Mention]] = []
        """Bones last named without a statement (`Injured bone: distal radius`), for a fracture that names none."""
        self._past: list[tuple[Place, Mention]] = []
        """Bones of a fracture that the body says an earlier exam showed."""
        self._described: list[Mention] = []
        self._pending: list[Statement] = []
        self._said: Statement | None = None
        self._line_denials: list[tuple[str | None, Span]] = []
        """`no fracture line`: a denial only where the report finds no fracture."""

    def end_sentence(self) -> None:
        """Make what this sentence found the thing that the next one may refer to."""
        self._named = []
        self._described = []
        self._focus.turn()

    def add(self, statement: Statement, latent: bool) -> None:
        """Take one statement; `latent`: its section makes no findings."""
        elsewhere = bool(statement.regions) and not any(places(r) for r in statement.regions)
        if elsewhere or len(self.drafts) >= _MAX_DRAFTS:
            return
        if statement.presence is Presence.ABSENT and not (latent or statement.latent):
            self.drafts = answered(self.drafts, statement, whole=not self.header)
        if statement.kind == "echo":
            statement.regions = statement.regions or self.header
            told = echoed(self._said, statement) if statement.regions else None
            if told is None:
                return
            statement = told
        elif statement.kind not in {"doubt", "answer"}:
            self._said = statement
        side = statement.side or self.side
        if statement.regions and self.header_filled:
            self.header = []  # the line has moved on to other bones
        if latent or statement.latent:
            self._latent(statement, side)
        elif statement.kind == "fracture":
            self._fracture(statement, side)
        elif statement.kind == "denial":
            self._denial(statement, side)
        elif statement.kind == "attribute":
            self._attribute(statement, side)
        elif statement.kind == "answer":
            self._answer(statement)
        else:
            self._open_all(self._last, side, statement)

    def settle(self, regions: Sequence[Mention]) -> None:
        """Give bones that stand alone (`Location: distal radius`) to a fracture that still has none."""
        for statement in list(self._pending):  # bones of another joint give it no place: it would wait again
            self._fracture(replace(statement, regions=list(regions)), statement.side or self.side)
        self._pending = []
        self._last = self._named = self._topic = [(p, r) for r in regions for p in places(r)]

    # ------------------------------------------------------------ statements

    def _fracture(self, s: Statement, side: str | None) -> None:
        regions = s.regions or self._heading(s)
        pairs = [(p, r) for r in regions for p in places(r)]
        if not pairs and s.second and s.presence is not Presence.ABSENT:
            pairs = self._last  # `... and a separate oblique fracture`
        if not pairs and not s.known and s.presence is not Presence.ABSENT:
            pairs = self._named  # `swelling over the radius; an underlying fracture is possible`
        if pairs:
            self._last = pairs
            self._open_all(pairs, side, s)
        elif s.presence is Presence.ABSENT:
            self._deny_all(s, side)
        elif targets := self._referred(s):
            for draft in targets:
                self._update(draft, s, confirms=draft.weak)
        elif self._last and (s.presence is Presence.UNCERTAIN or s.known):
            self._open_all(self._last, side, s)
        elif self._topic and s.presence is Presence.PRESENT and not s.plural:
            self._open_all(self._topic, side, s)
        elif s.head not in {"weak", "lucency", "injury", "involvement", "compound", "part"}:
            self._pending.append(s)

    def _heading(self, s: Statement) -> list[Mention]:
        """Return the bones of the list header; a denial after its own sentence is about more than them."""
        if s.head == "part" and s.known and self._focus.latest():
            return []  # `Carpus: the lunate tilts with the fragment`
        return self.header if self.header_open or s.presence is not Presence.ABSENT else []

    def _denial(self, s: Statement, side: str | None) -> None:
        regions = s.regions or self._heading(s)
        if s.ref == "it" and self._named:  # `concern about the styloid; this is normal`
            self._open_all(self._named, side, s)
            return
        self._open_all([(p, r) for r in regions for p in places(r)], side, s)
        if s.whole and (s.regions or not regions):
            self._deny_all(s, side)

    def _deny_all(self, s: Statement, side: str | None) -> None:
        if s.whole or s.head == "line":
            kept = self._line_denials if s.head == "line" else self.denials
            kept.append((side, Span("presence", s.start, s.end, self.section)))

    def _attribute(self, s: Statement, side: str | None) -> None:
        regions = s.regions or ([] if s.shared and s.whole else self.header) or self._described
        self._described = list(regions)
        if regions and s.values:
            for place, mention in [(p, r) for r in regions for p in places(r)]:
                self._describe(place, mention, side, s)
        else:
            for draft in self._referred(s):
                self._update(draft, s)

    def _describe(self, place: Place, mention: Mention, side: str | None, s: Statement) -> None:
        there = (d for d in self.drafts if d.place is place and d.presence is not Presence.ABSENT)
        found = [d for d in there if d.side in (side, None)]
        if found:
            self._update(found[-1], s)
        elif "healing" in s.values or self._history.names(place):
            self._open(place, mention, side, s)

    def _answer(self, s: Statement) -> None:
        """Settle the fractures that were just asked about, or the line of a list (`Ulna: nil`)."""
        if s.presence is Presence.PRESENT:
            self._pending = [replace(p, presence=s.presence) for p in self._pending]
        elif (s.whole and self.header) or self._pending:
            self._pending = []
            self._denial(replace(s, kind="denial", whole=True), s.side or self.side)
            return
        elif self._past and not self._focus.latest():
            self._open_all(self._past, s.side or self.side, s)
        for draft in self._focus.latest():
            if draft.presence is Presence.UNCERTAIN:
                draft.settle(s.presence, Span("presence", s.start, s.end, self.section))

    def _latent(self, s: Statement, side: str | None) -> None:
        if s.kind not in {"fracture", "attribute"} or s.presence is Presence.ABSENT:
            return
        if self.section in BODY:  # what an earlier exam showed is what this one is about
            self._past = self._topic = [(p, r) for r in s.regions for p in places(r)] or self._topic
        self._history.hear(s, side, self.section)

    # ------------------------------------------------------------ drafts

    def _referred(self, s: Statement) -> list[Draft]:
        """Return the drafts that a statement without bones speaks of."""
        found = self._focus.referred(s, [d for d in self.drafts if d.presence is not Presence.ABSENT])
        past = self._past and not self.drafts and not self.denials
        confirms = s.known or s.plural if s.kind == "fracture" else "healing" in s.values or past
        return found or (self._promote(s) if confirms and not s.ref else [])

    def _promote(self, s: Statement) -> list[Draft]:
        """Turn the fractures of the history into findings where the body confirms them (`callus is seen`)."""
        if not s.values or any(d.presence is not Presence.ABSENT for d in self.drafts):
            return []
        out = list(self._history.confirmed(Span("presence", s.start, s.end, self.section)))
        for draft in out:
            self._focus.take(draft)
        self.drafts += out
        return out

    def _open_all(self, pairs: Sequence[tuple[Place, Mention]], side: str | None, s: Statement) -> None:
        for place, mention in pairs:
            self._open(place, mention, side, s)

    def _open(self, place: Place, mention: Mention, side: str | None, s: Statement) -> None:
        """Find the draft that a statement about this bone belongs to, or start one; record it."""
        draft = belonging(self.drafts, place, side, s)
        if draft is None:
            draft = Draft(place, side, s.presence, weak=s.head in _SIGN_HEADS, sign=s.sign)
            draft.known = s.known or s.kind == "attribute"
            draft.asked = s.question and self.section == "body" and not self.drafts
            self.drafts.append(draft)
        draft.side = draft.side or side
        self._record(draft, mention, s)
        if draft.presence is not Presence.ABSENT:
            self._focus.take(draft)

    def _record(self, draft: Draft, mention: Mention, s: Statement) -> None:
        draft.evidence.append(Span("region", mention.start, mention.end, self.section))
        draft.evidence.append(Span("presence", s.start, s.end, self.section))
        self._update(draft, s)

    def _update(self, draft: Draft, s: Statement, confirms: bool = True) -> None:
        """Unite a statement with a draft; `confirms`: it may also make it certain, since it names the bone."""
        if s.kind == "fracture" and confirms:
            named = draft.weak and s.head not in _SIGN_HEADS
            draft.weak &= not named
            draft.sign &= s.sign
            if named or _RANK[s.presence] > _RANK[draft.presence]:
                draft.asked = False
                draft.presence = s.presence
                draft.evidence = [e for e in draft.evidence if e.field != "presence"]
                draft.evidence.append(Span("presence", s.start, s.end, self.section))
        if draft.presence is Presence.ABSENT:
            return
        for name, value in s.values.items():
            draft.set(name, value, self.section)
        if s.kind != "denial" and draft in self.drafts:
            self._focus.take(draft)

    def close(self) -> list[Draft]:
        """Return the findings of the report."""
        there = any(d.presence is not Presence.ABSENT for d in self.drafts)
        for draft in self.drafts:
            self._history.complete(draft)
        return conclude(self.drafts, self.denials + ([] if there else self._line_denials))
