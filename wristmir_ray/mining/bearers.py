"""The bones that bear an attribute without a head: `callus about the distal ulna`, `the radius is displaced`."""

from collections.abc import Sequence

from wristmir_ray.mining.clauses import ADJECTIVES, JOINS, NOUNS, Clause
from wristmir_ray.mining.foreseen import foreseen
from wristmir_ray.mining.terms import Mention

_ATTRIBUTES = frozenset({"type", "typeweak", "grade", "disp", "heal", "align", "ang"})
LINKED = NOUNS | {("ang", "adj"), ("heal", "healing"), ("heal", "nonunion")}
"""Attributes that a preposition links with their bones (`nonunion of the ulna`)."""

_CHAINS = JOINS | {"with", ""}


def bearers(clause: Clause, m: Mention, chain: int = 3) -> list[Mention]:
    """Return the bones an attribute is said of; none where it is a fracture's, or names none.

    Args:
        clause: the clause.
        m: the attribute.
        chain: how many attributes before it may pass theirs on (`radius displaced with bayonet apposition`).
    """
    free = clause.free_regions()
    subject = [r for r in clause.subject(_leftmost(clause, m)) if r in free]
    return _beside(clause, m, free) or _after(clause, m, free) or subject or _before(clause, m, free, chain)


def _beside(clause: Clause, m: Mention, free: Sequence[Mention]) -> list[Mention]:
    if (bracketed := clause.before_bracket(m.first)) is not None and clause.head_inside(bracketed, m) is None:
        return [bracketed]
    if (related := _related(clause, m)) is not None:
        return [related]
    beside = clause.ending.get(m.first - 1)  # `the radius off-ended and the ulna angulated`
    return [beside] if beside is not None and beside in free else []


def _after(clause: Clause, m: Mention, free: Sequence[Mention]) -> list[Mention]:
    if (m.kind, m.value) not in {*LINKED, ("disp", "severe")} and m.kind != "heal":
        return []
    light = {"known", "side", "extra", "both", "verb", "copula", "pastverb", "modal"}
    after = next((x for x in clause.mentions if x.first > m.last and x.kind not in light), None)
    if after is None or after.kind != "region" or after not in free or after.first - m.last > 8:
        return []
    if JOINS & set(clause.words(m.last + 1, after.first)):
        return []
    return [after, *(r for r in clause.coordinated(after, 1) if r.kind == "region")]


def _before(clause: Clause, m: Mention, free: Sequence[Mention], chain: int) -> list[Mention]:
    light = {"degree", "side", "both", "angdir", "neg", "not"}
    before = next((x for x in reversed(clause.mentions) if x.last < m.first and x.kind not in light), None)
    if before is None:
        return []
    if before.kind in _ATTRIBUTES and chain and m.first - before.last <= 3 and before in loose(clause):
        if (clause.words(before.last + 1, m.first) or [""])[-1] in _CHAINS:
            return bearers(clause, before, chain - 1)
    elif (m.kind, m.value) in LINKED and "and" in clause.words(before.last + 1, m.first):
        return []  # `new bone along the radius, and callus ...`
    elif before.kind == "region" and before in free and m.first - before.last <= 4:
        return [before, *(r for r in clause.coordinated(before, -1) if r in free)]
    return []


def loose(clause: Clause) -> list[Mention]:
    """Return the attributes of a clause that stand in no head's noun phrase."""
    heads = {h.mention.first for h in clause.heads}
    taken = {a.first for h in clause.heads for a in h.adjectives} | heads
    own = [m for m in clause.mentions if m.kind in _ATTRIBUTES and m.first not in taken]
    return [m for m in own if not foreseen(clause, m)]


def _related(clause: Clause, m: Mention) -> Mention | None:
    """Return the one bone of several that a relative clause is about (`the radius, which is displaced, and ...`)."""
    before = [x for x in clause.mentions if x.last < m.first and x.kind not in {"degree", "copula", "neg", "not"}]
    if len(before) < 3 or before[-1].kind != "verb" or clause.word(before[-2].first) != "which":
        return None
    singular = clause.word(before[-1].first) in {"is", "was", "has", "shows", "appears", "remains"}
    several = any(len(h.regions) > 1 for h in clause.heads)
    return before[-3] if singular and several and before[-3].kind == "region" else None


def _leftmost(clause: Clause, m: Mention) -> int:
    """Return where the run of adjectives that holds `m` starts (`is angulated and mildly displaced`)."""
    i = m.first
    while True:
        left = clause.ending.get(i - 1) or (clause.ending.get(i - 2) if clause.word(i - 1) in JOINS else None)
        if left is None or left.kind not in ADJECTIVES:
            return i
        i = left.first
