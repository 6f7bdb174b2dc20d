"""From a clause to its statements, in reading order."""

from collections.abc import Iterator
from dataclasses import replace

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.clauses import JOINS, Clause
from wristmir_ray.mining.context import read_context
from wristmir_ray.mining.denials import intact, spared
from wristmir_ray.mining.described import attributes
from wristmir_ray.mining.ellipsis import read_answer, read_echo
from wristmir_ray.mining.fractures import fractures, pronominal
from wristmir_ray.mining.heads import find_heads
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention


def read_statements(clause: Clause) -> Iterator[Statement]:
    """Yield the statements of a clause in reading order, one for each side that it names."""
    if (echo := read_echo(clause)) is not None:
        yield from _sided(clause, echo)
        return
    if (answer := read_answer(clause)) is not None:
        yield answer
        return
    find_heads(clause)
    context = read_context(clause)
    out = [s for h in clause.heads if h.kind == "deny" and h.neg is None for s in pronominal(clause, h)]
    clause.heads = [h for h in clause.heads if h.kind != "deny" or h.neg is not None]  # `the main abnormality is ...`
    out += [*intact(clause, context), *spared(clause, context)]
    out += [s for h in clause.heads for s in fractures(clause, h, context)]
    out += attributes(clause, context)
    kinds = {m.kind for m in clause.mentions}
    doubts = clause.first > 0 or "known" in kinds  # `... but cannot be excluded`, `this is uncertain`
    if not clause.heads and doubts and not kinds & {"ignore", "other"}:
        cue = next((m for m in clause.mentions if m.kind == "hedgepost"), None)
    else:
        cue = None
    if cue is not None:
        out.append(Statement("doubt", cue.start, cue.end, Presence.UNCERTAIN))
    for statement in sorted(out, key=lambda s: s.start):
        yield from _sided(clause, statement)


def _sided(clause: Clause, statement: Statement) -> Iterator[Statement]:
    """Yield the statement with its side; `the left radius and the right ulna are broken` is two statements."""
    near = [m for m in clause.mentions if m.kind == "side" and m.value != "bilateral"]
    if statement.side or not near:
        yield statement
        return
    if not statement.regions:
        for side in _sides(clause, near, statement.end):
            yield replace(statement, side=side)
        return
    bones: dict[str, list[Mention]] = {}
    for region in statement.regions:
        inside = [m.value for m in near if m.start >= region.start and m.end <= region.end]
        for side in inside[-1:] or _sides(clause, near, region.start):
            bones.setdefault(side, []).append(region)
    for side, regions in bones.items():
        yield replace(statement, regions=regions, side=side)


def _sides(clause: Clause, near: list[Mention], at: int) -> list[str]:
    """Return the side named last before the character `at`, or first behind it; both of `left and right`."""
    before = [m for m in near if m.start <= at]
    chosen = before[-1] if before else near[0]
    joined = [m for m in near if m.last == chosen.first - 2 and clause.word(chosen.first - 1) in JOINS]
    return list(dict.fromkeys(m.value for m in (*joined, chosen)))
