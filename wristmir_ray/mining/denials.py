"""Statements that bones are intact or spared."""

from collections.abc import Iterator

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.context import Context
from wristmir_ray.mining.statements import MAX_SPAN, Statement
from wristmir_ray.mining.terms import Mention

_BETWEEN = frozenset({"verb", "copula", "side", "extra", "both", "view", "known", "modal", "intact", "mask", "degree"})
"""What may stand between a bone and the adjective that says it is sound."""


def intact(clause: Clause, context: Context) -> Iterator[Statement]:
    """Yield what `intact`, `normal`, `unremarkable` say of bones, or of all of them."""
    for m in clause.mentions:
        loose = m.value == "closing" and not _stands(clause, m)  # `good` alone, not `good position`
        if m.kind == "intact" and m.first not in context.negated and not _negated(clause, m) and not loose:
            found = _intact_bones(clause, m)
            regions = [r for r in found if r.kind == "region" and not _is_growth_plate(clause, r)]
            whole = any(r.kind == "all" for r in found) or (not found and _is_verdict(clause, m))
            if regions or whole:
                spans = [m, *found]
                start, end = min(x.start for x in spans), max(x.end for x in spans)
                start, end = (start, end) if end - start <= MAX_SPAN else (m.start, m.end)
                clause.claimed.update(r.first for r in regions)
                if any(x.kind == "unsure" and x.first < m.first for x in clause.mentions):
                    yield Statement("fracture", start, end, Presence.UNCERTAIN, regions)
                    continue
                rest = any(x.kind == "extra" for x in clause.mentions)
                ref = "it" if not found and clause.word(clause.first) in {"it", "this", "they", "these"} else ""
                yield Statement("denial", start, end, Presence.ABSENT, regions, whole=whole, rest=rest, ref=ref)


def _stands(clause: Clause, m: Mention) -> bool:
    before = clause.ending.get(m.first - 1)
    if before is None:
        return 0 < clause.first == m.first  # `Styloid - ok`
    return before.kind in {"region", "all", "verb", "both"}


def _negated(clause: Clause, m: Mention) -> bool:
    before = clause.ending.get(m.first - 1)
    return before is not None and before.kind in {"not", "neg"}


def _is_growth_plate(clause: Clause, region: Mention) -> bool:
    words = {clause.word(i) for i in range(region.first, region.last + 1)}
    return bool(words & {"physis", "physes", "growth", "physeal"})


def _intact_bones(clause: Clause, m: Mention) -> list[Mention]:
    """Return what is said to be intact: after the adjective, else the subject before it."""
    after = next((x for x in clause.mentions if x.first > m.last and x.kind not in {"side", "view", "known"}), None)
    if after is not None and after.first - m.last <= 3 and not clause.subject(m.first):
        gap = [clause.word(i) for i in range(m.last + 1, after.first)]
        if after.kind in {"region", "all", "other", "align", "bone"} and all(w.isalpha() and w != "and" for w in gap):
            return [after, *clause.coordinated(after, 1)] if after.kind != "align" else [after]
    for x in reversed([x for x in clause.mentions if x.last < m.first]):
        if x.kind in {"region", "all", "other"}:
            if x.kind == "region" and clause.owned(x, direct=True):
                return []
            joined = [r for r in clause.coordinated(x, -1) if r.kind != "all" or clause.word(r.last + 1) != ","]
            paired = (
                bool({"are", "were", "both"} & set(clause.words(x.last, m.first))) and clause.word(x.first - 1) != ","
            )
            first = joined[:1] if paired else []  # `despite a fracture of the radius, the ulna and styloid are intact`
            joined = [r for r in joined if r in first or r.kind != "region" or not clause.owned(r, direct=False)]
            return [x, *joined] if _plural(clause, x, m, joined) else [x]
        if x.kind == "fx" and _was(clause, x, m):  # `the radius was fractured in 2019 and is now normal`
            return next((h.regions for h in clause.heads if h.mention is x), [])
        if x.kind not in _BETWEEN and not (x.kind == "align" and clause.word(x.last + 1) == "and"):
            return []
    return []


def _was(clause: Clause, fractured: Mention, m: Mention) -> bool:
    """Whether a bone that was fractured is said to be sound now."""
    past = {"was", "were", "been"} & set(clause.words(max(clause.first, fractured.first - 2), fractured.first))
    return bool(past) and {"and", "now"} <= set(clause.words(fractured.last + 1, m.first))


def _plural(clause: Clause, subject: Mention, m: Mention, joined: list[Mention]) -> bool:
    """Whether the bones before `subject` share its verb (`unlike the radius, the ulna is intact` does not)."""
    words = clause.words(min((r.last for r in joined), default=subject.last) + 1, subject.first)
    singular = {"is", "was", "appears", "remains", "looks", "has"} & set(clause.words(subject.last + 1, m.first))
    included = any(m.kind == "including" for m in clause.mentions)
    return not singular or included or bool({"and", "or", "nor", "&", "/"} & set(words))


def _is_verdict(clause: Clause, m: Mention) -> bool:
    """Whether the clause is a bare `Normal.` or `Otherwise unremarkable.`"""
    light = {"intact", "extra", "verb", "copula", "side", "view", "known", "both"}
    return (
        clause.last - clause.first <= 4
        and ":" not in clause.words(clause.first, clause.last)
        and all(x.kind in light for x in clause.mentions)
        and not clause.subject(m.first)
    )


def spared(clause: Clause, context: Context) -> Iterator[Statement]:
    """Yield the bones that a negation spares (`but not of the ulna`)."""
    cues = {id(c): c for c in context.negated.values()}
    for cue in cues.values():
        regions = [m for m in clause.mentions if m.kind == "region" and context.negated.get(m.first) is cue]
        if regions:
            clause.claimed.update(r.first for r in regions)
            start, end = min(cue.start, regions[0].start), max(cue.end, regions[-1].end)
            yield Statement("denial", start, end, Presence.ABSENT, regions)
