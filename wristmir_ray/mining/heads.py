"""The heads of a clause and the bones they speak of.

A *head* is what is said to be there or not: `fracture`, `avulsion`, `Salter-Harris II`, `bony
injury`. Around it stand premodifiers (`a minimally displaced distal radial buckle fracture`) and
bones in a prepositional phrase (`of the distal radius and ulna`). Bones may also come first as a
subject (`the distal ulna shows a buckle fracture`, `Distal radius: no fracture`).
"""

from itertools import pairwise

from wristmir_ray.mining.clauses import ADJECTIVES, HEAD_KINDS, JOINS, LIGHT, NOUNS, PREPOSITIONS, Clause, Head
from wristmir_ray.mining.terms import Mention

_STOPS = PREPOSITIONS | frozenset(
    [
        "a",
        "an",
        "with",
        "there",
        "also",
        "by",
        "from",
        "as",
        "than",
        "then",
        "who",
        "whose",
        "into",
        "extending",
        "seen",
        "noted",
        "identified",
        "present",
        "demonstrated",
        "which",
        "following",
        "after",
        "since",
        "during",
        "before",
    ]
)
_NOUN_TYPES = frozenset({"buckle", "avulsion", "greenstick", "plastic_bowing"})
_SIGNS = frozenset({"weak", "lucency", "involvement", "part", "compound", "line"})
_MAX_FILLERS = 5


def find_heads(clause: Clause) -> None:
    """Fill `clause.heads`, each with its adjectives and bones, and `clause.claimed`."""
    reader = _Reader(clause)
    reader.find()
    reader.claim()


class _Reader:
    def __init__(self, clause: Clause) -> None:
        self.clause = clause

    def find(self) -> None:
        for m in self.clause.mentions:
            if m.kind in HEAD_KINDS:
                self._add(m)
        for m in self.clause.mentions:
            if m.kind == "type" and m.first not in self.clause.claimed and self._is_noun(m):
                self._add(m)
        self.clause.heads = [h for h in self.clause.heads if h.kind != "injury" or self._is_bony(h)]
        self.clause.heads.sort(key=lambda h: h.mention.first)

    def _is_bony(self, head: Head) -> bool:
        """Whether `injury` is one of bone: by its type (`torus injury`) or its place (`injury to the ulna`)."""
        after = next((x for x in self.clause.mentions if x.first > head.mention.last and x.kind != "known"), None)
        placed = after is not None and after.kind == "region" and after.first - head.mention.last <= 4
        return placed or any(a.kind == "type" for a in head.adjectives)

    def _add(self, m: Mention) -> None:
        head = self._premodify(m)
        self.clause.heads.append(head)
        self.clause.claimed.update({m.first}, (a.first for a in head.adjectives), (r.first for r in head.regions))

    def _is_noun(self, m: Mention) -> bool:
        """Whether a fracture type stands for the fracture itself (`avulsion of the ulnar styloid`)."""
        if m.value not in _NOUN_TYPES and not m.value.startswith("salter"):
            return False
        others = [h for h in self.clause.heads if h.kind not in _SIGNS]
        if not others or self._premodify(m).regions or self.clause.before_bracket(m.first) is not None:
            return True
        after = next((x for x in self.clause.mentions if x.first > m.last and x.kind not in {"known", "side"}), None)
        near = after is not None and after.kind == "region" and after.first - m.last <= 5
        if near and self.clause.word(m.last + 1) in {"of", "in", "at", "involving", "through"}:
            return True
        return bool(self.clause.subject(m.first))

    def _premodify(self, m: Mention) -> Head:
        """Walk left over adjectives, bones and fillers up to the start of the noun phrase."""
        head = Head(m, m.first)
        i, fillers = m.first - 1, 0
        while i >= self.clause.first:
            left = self.clause.ending.get(i)
            if left is None:
                word = self.clause.word(i)
                if word in JOINS:
                    if not self._joins(i, head):
                        break
                elif word in {"(", ")"} and self._is_gloss(i, head):
                    pass
                elif word in _STOPS or not word.isalnum() or fillers >= _MAX_FILLERS:
                    break
                else:
                    fillers += 1
                i -= 1
                continue
            if not self._take(left, head):
                break
            head.first = left.first
            i = left.first - 1
        return head

    def _is_gloss(self, i: int, head: Head) -> bool:
        """Whether the bracket at token `i` holds but an adjective: `buckle (torus) fracture`."""
        if self.clause.word(i) == "(":
            return bool(head.adjectives) and head.adjectives[0].first == i + 1
        inner = self.clause.ending.get(i - 1)
        return inner is not None and inner.kind in ADJECTIVES and self.clause.word(inner.first - 1) == "("

    def _take(self, left: Mention, head: Head) -> bool:
        """Add one premodifier; False where the noun phrase starts."""
        if left.first in self.clause.claimed:
            return False
        if left.kind == "region":
            if self.clause.owned(left, direct=not head.regions, by_noun=bool(head.regions)):
                return False
            head.regions.insert(0, left)
        elif left.kind in ADJECTIVES:
            if (left.kind, left.value) in NOUNS:
                return False
            head.adjectives.insert(0, left)
        elif left.kind == "extra":
            head.other |= left.value == "other"
            head.second |= left.value == "second"
        elif left.kind == "known":
            head.known = True
            return left.value == "known"
        elif left.kind == "both":
            head.known = True
            return False
        return left.kind in {"region", "side", "extra", "mask", "known"} or left.kind in ADJECTIVES

    def _joins(self, i: int, head: Head) -> bool:
        left = self.clause.ending.get(i - 1) or (
            self.clause.ending.get(i - 2) if self.clause.word(i - 1) in JOINS else None
        )
        if left is None:
            return False
        if left.kind == "extra":
            return True
        if left.kind == "region":
            return not self.clause.owned(left, direct=False)
        return (
            left.kind in ADJECTIVES and (left.kind, left.value) not in NOUNS and not head.regions and self._leads(left)
        )

    def _leads(self, adjective: Mention) -> bool:
        """Whether a run of adjectives opens a noun phrase, rather than trailing a head or a bone."""
        m: Mention | None = adjective
        while m is not None and m.kind in ADJECTIVES:
            m = self.clause.ending.get(m.first - 1)
        return m is None or m.kind not in {"region", "verb", "copula", *HEAD_KINDS}

    def claim(self) -> None:
        for head in self.clause.heads:
            if not head.regions and head.kind != "combo":
                head.regions = self.clause.subject(head.first)
                self.clause.claimed.update(r.first for r in head.regions)
        for m in self.clause.mentions:
            if m.kind != "region" or m.first in self.clause.claimed:
                continue
            owner = self._owner(m)
            if owner is not None and self._accepts(owner):
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
        signs = [h for h in self.clause.heads if h.kind in {"weak", "lucency"} and h.regions]
        real = [h for h in self.clause.heads if h.kind not in _SIGNS and not h.regions]
        if len(signs) == 1 and len(real) == 1:
            real[0].regions = signs[0].regions
            self.clause.heads = [h for h in self.clause.heads if h is not signs[0]]

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
            listed = [self._premodify(m) for m in types]
            heads = [heads[0], *listed]
        if len(listed) < 2:
            return
        if heads[0].mention.last < at and len(listed) == len(heads) - 1 and not any(h.regions for h in listed):
            for i, head in enumerate(listed):
                head.regions, head.second = list(heads[0].regions), i > 0
            self.clause.heads = listed

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
                if found is not None and ")" not in self.clause.words(m.last, region.first):
                    return found
            listed = m.kind == "other" and self.clause.word(m.first - 1) in JOINS
            if listed and any(h.mention.last == m.first - 2 for h in self.clause.heads):
                continue  # `fracture or dislocation of the radius`
            noun = (m.kind, m.value) in NOUNS or m.kind in {"other", "intact", "spare", "all"}
            if noun and not self._parted(m, region):
                return None
            if m.kind in {"ignore", "prior"}:
                return None
        return None

    def _parted(self, m: Mention, region: Mention) -> bool:
        return any(self.clause.word(i) in JOINS for i in range(m.last + 1, region.first)) and m.kind == "other"

    def _opens_statement(self, region: Mention) -> bool:
        """Whether `region` is the subject of something said after it (`... and the ulna is intact`)."""
        if self.clause.owned(region, direct=True):
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
