"""A clause: its words, its mentions, and which bones hang together in it."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token

JOINS = frozenset({"and", ",", "or", "/", "&", "+", "nor", "plus"})
PREPOSITIONS = frozenset(
    {"of", "in", "at", "involving", "through", "across", "along", "about", "around", "to", "into", "within", "near"}
    | {"on", "affecting", "over", "overlying", "adjacent", "for"}
)
BE = frozenset({"is", "are", "was", "were", "appears", "appear", "remains", "remain", "looks", "look", "seems", "seem"})
"""Verbs that an adjective follows, as opposed to those of a noun (`shows`)."""
HEAD_KINDS = frozenset({"fx", "deny", "combo", "proform"})
SIGNS = frozenset({"weak", "lucency", "involvement", "part", "compound", "line"})
"""Heads that need not be a fracture of their own."""
ADJECTIVES = frozenset({"type", "typeweak", "grade", "disp", "degree", "heal", "align", "ang", "angdir"})
NOUNS = frozenset({("disp", "noun"), ("ang", "noun"), ("heal", "healing_sign")})
LIGHT = frozenset(
    {"side", "extra", "view", "both", "verb", "copula", "hedge", "modal", "known", "mask", "not", "neg", "including"}
)
AUXILIARIES = frozenset({"is", "are", "was", "were", "does", "do", "did", "has", "have", "had", "can"})
AS = frozenset({"so", "as", "neither", "nor"})
"""Words that with an auxiliary repeat what was said: `so is the ulna`."""
MAX_GAP = 3


@dataclass(slots=True)
class Head:
    """One thing said to be there or not; `first` is the token its noun phrase starts at."""

    mention: Mention
    first: int
    regions: list[Mention] = field(default_factory=list)
    adjectives: list[Mention] = field(default_factory=list)
    known: bool = False
    other: bool = False
    second: bool = False
    latent: bool = False
    hardware: bool = False
    """Denied of plates and wires, not of bones."""
    planned: bool = False
    """There, but named in a plan: only its own adjectives are said of it."""
    twice: bool = False
    """Two fractures of one bone that nothing tells apart."""
    neg: Mention | None = None
    hedge: Mention | None = None
    hedged_regions: list[Mention] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """fx kinds by their value (one, many, line, ...), else the mention's kind."""
        return self.mention.value if self.mention.kind == "fx" else self.mention.kind


_first = attrgetter("first")


class Clause:
    """A run of tokens [first, last) of one sentence with its mentions and, once found, its heads."""

    def __init__(self, tokens: Sequence[Token], mentions: Sequence[Mention], first: int, last: int) -> None:
        self.tokens = tokens
        self.first, self.last = first, last
        own = mentions[bisect_left(mentions, first, key=_first) : bisect_left(mentions, last, key=_first)]
        self.mentions = [m for m in own if m.value != "closing" or self._closes(m)]
        self.starting = {m.first: m for m in self.mentions}
        self.ending = {m.last: m for m in self.mentions}
        self.heads: list[Head] = []
        self.listed = False
        """Whether it is an item of a list of fractures (`Two fractures: ...; oblique, distal ulna`)."""
        self.claimed: set[int] = set()
        """First tokens of the mentions that already belong to a head."""

    def _closes(self, m: Mention) -> bool:
        """Whether `good`, `fine` say that a bone is intact, rather than qualify a noun (`good position`)."""
        return self.word(m.last + 1) in {"", ".", ",", ")", "and", "on", "in", "throughout"}

    def word(self, i: int) -> str:
        """Return the word at token `i`, empty outside the clause."""
        return self.tokens[i].text if self.first <= i < self.last else ""

    def words(self, first: int, last: int) -> list[str]:
        """Return the words at tokens [first, last)."""
        return [self.word(i) for i in range(first, last)]

    def free_regions(self) -> list[Mention]:
        """Return the bones that no head has claimed."""
        return [m for m in self.mentions if m.kind == "region" and m.first not in self.claimed]

    def head_before(self, i: int) -> Head | None:
        """Return the nearest head that ends before token `i`."""
        return next((h for h in reversed(self.heads) if h.mention.last < i), None)

    def head_after(self, i: int) -> Head | None:
        """Return the nearest head whose mention starts after token `i`."""
        return next((h for h in self.heads if h.mention.first > i), None)

    def before_bracket(self, i: int) -> Mention | None:
        """Return the bone before the bracket that token `i` stands in, if any: `radius (oblique fracture)`."""
        i -= 1
        while i >= self.first and self.word(i) not in {"(", ")"}:
            i -= 1
        m = self.ending.get(i - 1) if self.word(i) == "(" else None
        return m if m is not None and m.kind == "region" else None

    def head_inside(self, start: Mention, end: Mention) -> Head | None:
        """Return a head between two mentions."""
        return next((h for h in self.heads if start.last < h.mention.first < end.first), None)

    # ------------------------------------------------------------ bones that follow or precede

    def owned(self, region: Mention, direct: bool, by_noun: bool = True) -> bool:
        """Whether a bone stands after a head (or a noun such as `callus`) that speaks of it.

        Args:
            region: the bone.
            direct: only without a comma or conjunction in between.
            by_noun: whether a noun that is no head (callus, swelling) counts.
        """
        i = region.first - 1
        while i >= self.first:
            left = self.ending.get(i)
            verdict = self._past_word(i, direct) if left is None else self._past_mention(left, direct, by_noun)
            if verdict is not None:
                return verdict
            i = (left.first if left is not None else i) - 1
        return False

    def _past_word(self, i: int, direct: bool) -> bool | None:
        """Whether a bone right of token `i` is owned, None where the walk left goes on."""
        if self.word(i) in {"a", "an", "with"}:  # `is associated with an ulnar styloid fracture`
            return False
        if self.word(i) not in JOINS:
            return None
        before = self.ending.get(i - 1)
        if not direct and before is not None and before.kind == "region":
            return self.owned(before, direct=False)
        return None if not direct and before is not None and before.kind in ADJECTIVES else False

    def _past_mention(self, left: Mention, direct: bool, by_noun: bool) -> bool | None:
        if left.kind in HEAD_KINDS or left.kind == "type":
            return True
        if (left.kind, left.value) in NOUNS or left.kind == "other":
            return by_noun
        if left.kind == "region":
            return self.owned(left, direct)
        return None if left.kind != "neg" and (left.kind in LIGHT or left.kind in ADJECTIVES) else False

    def coordinated(self, region: Mention, step: int) -> Iterator[Mention]:
        """Yield the bones joined to `region` by commas or conjunctions, leftwards (-1) or rightwards (1)."""
        at, ends = (region.first, self.ending) if step < 0 else (region.last, self.starting)
        while True:
            i, joined = at + step, False
            while self.word(i) in JOINS or self._is_light(i, step):
                joined |= self.word(i) in JOINS
                i += step
            m = ends.get(i)
            if m is None or m.kind not in {"region", "other", "all"} or not joined:
                return
            yield m
            at = m.first if step < 0 else m.last

    def _is_light(self, i: int, step: int) -> bool:
        m = (self.ending if step < 0 else self.starting).get(i)
        if m is not None:
            return m.first == m.last and m.kind in {"side", "known", "both", "extra", "including"}
        return self.word(i) in {"of", "in", "a", "an", "at", "adjacent", "also", "as", "well"}

    def subject(self, i: int) -> list[Mention]:
        """Return the bones that are the subject of the verb before token `i`; none where a head owns them."""
        i -= 1
        verb = False
        while i >= self.first:
            m = self.ending.get(i)
            if m is None and self.word(i).isalpha() and self.word(i) not in PREPOSITIONS and self.word(i) not in JOINS:
                i -= 1
            elif m is None and self.word(i) == ":":
                verb = True
                i -= 1
            elif m is not None and m.kind in LIGHT:
                verb |= m.kind in {"verb", "copula", "modal"}
                i = m.first - 1
            else:
                break
        m = self.ending.get(i)
        if m is None or m.kind != "region" or not verb or self.owned(m, direct=True):
            return []
        joined = [r for r in self.coordinated(m, -1) if r.kind == "region" and not self.owned(r, direct=False)]
        return [*reversed(joined), m]
