"""Whose bones are whose: after a head, before its verb, in brackets, in a list."""

from itertools import pairwise

from wristmir_ray.mining.clauses import BE, HEAD_KINDS, JOINS, LIGHT, NOUNS, PREPOSITIONS, SIGNS, Clause, Head
from wristmir_ray.mining.terms import Mention


def claim_bones(clause: Clause) -> None:
    """Give every head of the clause its bones; `clause.claimed` says which are taken."""
    _Claims(clause).claim()


class _Claims:
    def __init__(self, clause: Clause) -> None:
        self.clause = clause

    def claim(self) -> None:
        for i, head in enumerate(self.clause.heads):
            if not head.regions and head.kind != "combo":
                head.regions = (self._gapped(head) if i else []) or self.clause.subject(head.first)
                self.clause.claimed.update(r.first for r in head.regions)
        for m in self.clause.mentions:
            if m.kind != "region" or m.first in self.clause.claimed:
                continue
            owner = self._owner(m)
            if owner is not None and self._accepts(owner) and not self._has(owner, m):
                owner.regions.append(m)
                self.clause.claimed.add(m.first)
        for head in self.clause.heads:
            if not head.regions and (bracketed := self.clause.before_bracket(head.first)) is not None:
                head.regions = [bracketed]
        self._deal_out()
        self._resolve_signs()
        for head, following in reversed(list(pairwise(self.clause.heads))):
            words = [w for w in self.clause.words(head.mention.last + 1, following.first) if w not in {"other", "any"}]
            if not words or not all(w in JOINS for w in words):
                continue
            if not head.regions:  # `no break, buckle or lucency of the radius`
                head.regions = [r for r in following.regions if r.first > following.mention.last]
            elif not following.regions and following.other:  # `no ulnar styloid avulsion or other fracture`
                following.regions = list(head.regions)

    def _resolve_signs(self) -> None:
        """Give a sign's bones to the fracture it is read as (`irregularity of the radius, likely a fracture`)."""
        for head, following in pairwise(self.clause.heads):
            mere = head.kind == "injury" and not any(a.kind == "type" for a in head.adjectives)
            if mere and head.regions and not following.regions and self.clause.word(following.first - 1) in {"a", "an"}:
                following.regions = list(head.regions)  # `injury of the radius with a comminuted fracture`
        signs = [h for h in self.clause.heads if h.regions and (h.kind in {"weak", "lucency"} or self._is_unlike(h))]
        real = [h for h in self.clause.heads if h.kind not in SIGNS and not h.regions]
        if len(signs) == 1 and len(real) == 1:
            real[0].regions = signs[0].regions
            self.clause.heads = [h for h in self.clause.heads if h is not signs[0]]

    def _is_unlike(self, head: Head) -> bool:
        """Whether a fragment is said not to be a fracture (`the fragment at the styloid is not a fracture`)."""
        following = self.clause.head_after(head.mention.last)
        between = self.clause.words(head.mention.last, following.first) if following is not None else []
        return head.kind == "part" and "not" in between and not BE.isdisjoint(between)

    def _deal_out(self) -> None:
        """Read `two fractures of the distal radius: a buckle fracture and an oblique fracture` as two."""
        at = next((i for i in range(self.clause.first, self.clause.last) if self.clause.word(i) == ":"), None)
        heads = self.clause.heads
        if not heads:
            return
        if at is None or heads[0].kind != "many" or not heads[0].regions:
            return
        listed = [h for h in heads[1:] if h.first > at]
        types = [m for m in self.clause.mentions if m.kind == "type" and m.first > at]
        if not listed and len(types) > 1:  # `...: one buckle and one transverse`
            listed = [Head(m, m.first) for m in types]
            heads = [heads[0], *listed]
        if len(listed) < 2:
            return
        if heads[0].mention.last < at and len(listed) == len(heads) - 1 and not any(h.regions for h in listed):
            for i, head in enumerate(listed):
                head.regions, head.second = list(heads[0].regions), i > 0
            self.clause.heads = listed

    def _gapped(self, head: Head) -> list[Mention]:
        """Return the bone that shares the verb of the head before (`and the styloid an avulsion fracture`)."""
        i = head.first - 1
        if self.clause.word(i) not in {"a", "an"}:
            return []
        m = self.clause.ending.get(i - 2 if self.clause.word(i - 1) == "," else i - 1)
        if m is None or m.kind != "region":
            return []
        i = m.first - (2 if self.clause.word(m.first - 1) == "the" else 1)
        return [m] if self.clause.word(i) in {"and", ",", "while", ""} else []

    def _has(self, head: Head, region: Mention) -> bool:
        """Whether a head of several bones holds this one, so that it opens a remark (`..., radius displaced`)."""
        held = [v for r in (head.mention, *head.regions) for v in r.value.split("+")]
        return len(held) > 1 and region.value in held and region.first - head.mention.last > 1

    def _accepts(self, head: Head) -> bool:
        premodified = any(r.last < head.mention.first for r in head.regions)
        joined = self.clause.word(head.mention.last + 1) in JOINS
        return not premodified or joined or head.kind == "many"

    def _owner(self, region: Mention) -> Head | None:
        """Return the head to the left whose bone this is."""
        if self._opens_statement(region):
            return None
        for m in reversed([x for x in self.clause.mentions if x.last < region.first]):
            if m.kind in HEAD_KINDS or m.kind == "type":
                found = next((h for h in self.clause.heads if h.mention is m), None)
                between = self.clause.words(m.last, region.first)
                if found is not None and between.count(")") == between.count("("):
                    return found
            listed = m.kind == "other" and self.clause.word(m.first - 1) in JOINS
            if listed and any(h.mention.last == m.first - 2 for h in self.clause.heads):
                continue  # `fracture or dislocation of the radius`
            noun = (m.kind, m.value) in NOUNS or m.kind in {"other", "intact", "spare", "all"}
            if noun and not self._parted(m, region):
                return None
            if m.value == "nonunion" and self.clause.word(m.last + 1) in PREPOSITIONS:
                return None
            if m.kind in {"ignore", "prior"}:
                return None
        return None

    def _parted(self, m: Mention, region: Mention) -> bool:
        return any(self.clause.word(i) in JOINS for i in range(m.last + 1, region.first)) and m.kind == "other"

    def _opens_statement(self, region: Mention) -> bool:
        """Whether `region` is the subject of something said after it (`... and the ulna is intact`)."""
        if self.clause.owned(region, direct=True) or self.clause.word(self.clause.first) in {"neither", "none"}:
            return False
        i, verb = region.last + 1, False
        for m in self.clause.coordinated(region, 1):
            i = m.last + 1
        while i < self.clause.last and i <= region.last + 8:
            m2 = self.clause.starting.get(i)
            if m2 is not None and m2.kind in {"verb", "copula"}:
                verb = True
            elif m2 is not None and m2.kind == "intact":
                return True
            elif m2 is not None and (m2.kind in HEAD_KINDS or m2.kind == "type"):
                return verb
            elif (
                self.clause.word(i) in JOINS
                or self.clause.word(i) in PREPOSITIONS
                or (m2 is not None and m2.kind not in LIGHT)
            ):
                return (
                    verb
                    and m2 is not None
                    and m2.kind in {"disp", "heal", "degree"}
                    and "is" in self.clause.words(region.last + 1, i)
                )
            i = (m2.last if m2 is not None else i) + 1
        return False
