"""From a clause to its statements, in reading order."""

from collections.abc import Iterator

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.context import read_context
from wristmir_ray.mining.denials import intact, spared
from wristmir_ray.mining.described import attributes
from wristmir_ray.mining.ellipsis import read_answer, read_echo
from wristmir_ray.mining.fractures import fractures, pronominal
from wristmir_ray.mining.heads import find_heads
from wristmir_ray.mining.statements import Statement


def read_statements(clause: Clause) -> Iterator[Statement]:
    """Yield the statements of a clause in reading order."""
    if (echo := read_echo(clause)) is not None:
        echo.side = _side(clause, echo)
        yield echo
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
        statement.side = statement.side or _side(clause, statement)
        yield statement


def _side(clause: Clause, statement: Statement) -> str | None:
    at = max((r.start for r in statement.regions), default=statement.end)
    near = [m for m in clause.mentions if m.kind == "side" and m.value != "bilateral"]
    before = [m for m in near if m.start <= at]
    inside = [m for r in statement.regions for m in near if m.start >= r.start and m.end <= r.end]
    chosen = inside or before[-1:] or near[:1]
    return chosen[-1].value if chosen else None
