"""Negation and hedging: what of a clause is denied, doubted, planned or somebody else's claim.

Forward cues (`no`, `without`, `possible`) reach the heads after them until something new starts: a
new article after a comma or `and`, `with`, a colon, the end of the clause. Negation outranks
hedging (`no convincing fracture` denies). Where a noun such as `displacement` or `healing` was
denied, the fracture after its preposition was not (`no displacement of the fracture`). Backward
cues (`is not seen`, `cannot be excluded`) reach the nearest head before them.
"""

from dataclasses import dataclass, field

from wristmir_ray.mining.backward import (
    deny_before,
    deny_neither,
    deny_predicate,
    doubt_before,
    looks_back,
    spare,
    spared_bones,
    trails,
)
from wristmir_ray.mining.clauses import NOUNS, PREPOSITIONS, Clause, Head
from wristmir_ray.mining.latent import mark_latent
from wristmir_ray.mining.terms import Mention

_NEW = frozenset(["a", "an", "there", "the", "which", "this", "also", "now", "it", "they", "its"])
_ENDS_NEGATION = frozenset(["with", "due", "despite", "following", "after", "since", "from", "because"])
_SUGGESTS = frozenset({"suggest", "indicate", "support", "imply"})
"""Verbs of what a denied sign would mean: `no callus to indicate a healing fracture`."""
_NOT_REACH = 5
_MODIFIED = frozenset({"type", "typeweak", "disp", "heal", "degree", "align", "ang", "angdir"})
_NOUNS = NOUNS | {("heal", "healing")}


@dataclass(slots=True)
class Context:
    """What the cues of one clause do to its mentions; heads carry theirs themselves."""

    negated: dict[int, Mention] = field(default_factory=dict)
    """First token of an adjective, noun or bone -> the negation that denies it."""


def read_context(clause: Clause) -> Context:
    """Mark every head of the clause (`neg`, `hedge`, `latent`) and return what else is negated."""
    context = Context()
    _Scan(clause, context).run()
    for m in clause.mentions:
        if m.kind == "negpost":
            deny_before(clause, m, context.negated)
        elif m.kind == "hedgepost":
            doubt_before(clause, m)
        elif m.kind == "spare":
            spare(clause, m, context.negated)
    for head in clause.heads:
        deny_predicate(clause, head, context.negated)
    mark_latent(clause)
    return context


class _Scan:
    """One pass from left to right with at most one open negation and one open hedge."""

    def __init__(self, clause: Clause, context: Context) -> None:
        self.clause, self.context = clause, context
        self.neg: Mention | None = None
        self.hedge: Mention | None = None
        self.unsure: Mention | None = None
        self.denied_noun = self.blocked = self.denied_head = self.doubted = False
        self.heads = {h.mention.first: h for h in clause.heads}
        self.adjectives = {a.first: h for h in clause.heads for a in h.adjectives}

    def run(self) -> None:
        i = self.clause.first
        while i < self.clause.last:
            m = self.clause.starting.get(i)
            if m is None:
                self._word(i)
                i += 1
                continue
            self._mention(m)
            i = m.last + 1

    def _open(self, m: Mention) -> None:
        self.neg, self.denied_noun, self.blocked, self.denied_head = m, False, False, False

    def _mention(self, m: Mention) -> None:
        if self.neg is not None and self.neg.kind in {"not", "spare"} and m.first - self.neg.last > _NOT_REACH:
            self.neg = None
        head = self.heads.get(m.first)
        if m.kind in {"neg", "not"} and self.unsure is not None:  # `I cannot be certain that there is no fracture`
            self.hedge, self.doubted = self.unsure, False
        elif m.kind in {"neg", "not"} or (m.kind == "spare" and not spared_bones(self.clause, m)):
            if m.kind != "spare" or self.clause.word(m.last) not in {"of", "in", "at", "involving", "the"}:
                self._negation(m)  # `callus at the radial fracture but not at the ulnar fracture`: that is there
        elif m.kind in {"hedge", "modal", "unsure"}:
            self.unsure = m if m.kind == "unsure" else None
            self.neg = None if self._denies_attribute(m) else self.neg
            self._hedge(m)
        elif head is not None:
            self._head(head)
        elif m.kind in _MODIFIED:
            self._modifier(m)
        elif m.kind == "known" and m.value == "det" and self.neg is not None and self.denied_noun:
            self.blocked = True
        elif m.kind == "region" and self._near_hedge(m):
            owner = next((h for h in self.clause.heads if any(r is m for r in h.regions)), None)
            if owner is not None and owner.mention.last < m.first and owner.hedge is None:
                owner.hedged_regions.append(m)
        elif m.kind == "ignore" or self._is_past_not(m):
            self.neg = None
        elif m.kind in {"all", "other"}:
            self.hedge = None

    def _negation(self, m: Mention) -> None:
        last = all(
            x.first <= m.first or x.kind not in {"fx", "deny", "type", "region", "combo", *_MODIFIED}
            for x in self.clause.mentions
        )
        if last and self.clause.word(m.first - 1) in {":", "--", "="}:
            deny_before(self.clause, m, self.context.negated)
            return
        ahead = any(
            x.first > m.last and x.kind in {"fx", "deny", "type", "combo", *_MODIFIED} for x in self.clause.mentions
        )
        copula = self.clause.ending.get(m.first - 1)
        if deny_neither(self.clause, m, self.context.negated):
            return
        if looks_back(self.clause, m, copula, ahead, self.context.negated):
            return
        if not ahead and m.kind == "not" and not self.clause.head_before(m.first) and spared_bones(self.clause, m):
            for region in spared_bones(self.clause, m):  # `it is not the radius but the ulna that is broken`
                self.context.negated[region.first] = m
            return
        if (
            not ahead
            and copula is not None
            and copula.kind in {"verb", "copula"}
            and self.clause.word(m.last + 1).isalpha()
        ):
            head = self.clause.head_before(m.first)
            if head is not None and not (head.known and head.regions and m.kind == "not"):
                deny_before(self.clause, m, self.context.negated)  # `a fracture is not <a word we do not know>`
            return
        if not ahead and copula is not None and m.kind == "not":  # `... but the ulna is not.`
            for region in self.clause.subject(m.first):
                self.context.negated[region.first] = m
            return
        self._open(m)

    def _is_past_not(self, m: Mention) -> bool:
        """Whether another predicate starts: `is not displaced, is healing`; `without a fragment, consistent with`."""
        if self.neg is None or m.first <= self.neg.last + 1:
            return False
        linked = m.kind == "link" and self.clause.word(m.first - 1) == ","
        return linked or (m.kind == "verb" and self.neg.kind in {"not", "spare"})

    def _denies_attribute(self, m: Mention) -> bool:
        """Whether the open negation ends before a hedge (`no displacement, possible styloid fracture`)."""
        last = next((x for x in reversed(self.clause.mentions) if x.first < m.first), None)
        attribute = last is not None and last.kind in {"disp", "ang", "degree"} and not self.denied_head
        return attribute and self.clause.word(m.first - 1) == ","

    def _near_hedge(self, m: Mention) -> bool:
        h = self.hedge
        return h is not None and m.first - h.last <= 5 and not self.doubted

    def _hedge(self, m: Mention) -> None:
        before = self.clause.ending.get(m.first - 1)
        if self.clause.word(m.first) == "?" and before is not None and before.kind in {"disp", "heal", "ang"}:
            return  # `displaced?`
        if self.neg is None and trails(self.clause, m):
            doubt_before(self.clause, m)
            return
        ahead = self.clause.head_after(m.last)
        following = next(
            (x for x in self.clause.mentions if x.first > m.last and x.kind not in {"verb", "copula", "known", "side"}),
            None,
        )
        attribute = following is not None and following.kind in _MODIFIED and following.first - m.last <= 3
        if (
            ahead is not None
            or m.kind == "modal"
            or attribute
            or (following is not None and following.kind == "region")
        ):
            self.hedge, self.doubted = m, False
            return
        versus = self.clause.word(m.first) in {"versus", "vs"}
        if self.neg is None and (
            versus or following is None or self.clause.word(m.last + 1) in {"", ".", ",", ")", "?"}
        ):
            doubt_before(self.clause, m)

    def _head(self, head: Head) -> None:
        if self.neg is not None and not self.blocked:
            head.neg, self.denied_head, self.hedge = self.neg, True, None
        elif self.hedge is not None:
            head.hedge, self.doubted = self.hedge, True

    def _modifier(self, m: Mention) -> None:
        own = self.adjectives.get(m.first)
        if self.clause.word(m.last + 1) == "+" and self.clause.word(m.last + 2) in {"", ",", ".", ")"}:
            self.neg = None  # `no displacement, callus +`
        if self.neg is not None and not self.blocked and (own is None or self.neg.kind == "not"):
            self.context.negated[m.first] = self.neg
            self.denied_noun |= (m.kind, m.value) in _NOUNS
        elif own is None and self.hedge is not None and not self.doubted:
            self.hedge = None  # it was the attribute that is doubted, not the fracture

    def _word(self, i: int) -> None:
        word, following = self.clause.word(i), self.clause.word(i + 1)
        new = following in _NEW and not (following in {"a", "an"} and word == "or")
        if self.hedge is not None and i == self.hedge.last + 1 and word == ",":
            return  # `suspicious for, but not diagnostic of, a fracture`
        if word in PREPOSITIONS and self.denied_noun and following not in _SUGGESTS:
            self.blocked = True
        if (
            word == ":"
            or (word in _ENDS_NEGATION and (self.denied_head or self.denied_noun))
            or (word in {",", "and", "&", "+"} and (new or self._new_statement(i, word)))
        ):
            self.neg = self.hedge = None
        if word in {",", "and", "&", "+"} and self.doubted:
            self.hedge = None

    def _new_statement(self, i: int, word: str) -> bool:
        """Whether a head with bones of its own starts after this join, outside a negated list."""
        if self.neg is None:
            return False
        rest = [self.clause.word(k) for k in range(i + 1, self.clause.last)]
        following = next((x for x in self.clause.mentions if x.first > i), None)
        if following is None:
            return False
        head = next((h for h in self.clause.heads if h.first <= following.first <= h.mention.first), None)
        listed = "or" in rest or "nor" in rest
        if head is not None:
            return bool(head.regions) and self.denied_head and not listed and following.kind not in {"neg", "not"}
        signs = following.kind == "heal" or (following.kind in {"disp", "degree", "align"} and word != ",")
        return signs and self.denied_head and not listed
