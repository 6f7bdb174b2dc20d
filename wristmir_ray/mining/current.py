"""What is so now, beside what was: `displaced on arrival, now anatomic`; `today the fracture is mildly displaced`."""

from collections.abc import Sequence
from dataclasses import replace

from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Values

_NOW = frozenset({"now", "today", "currently", "presently", "nowadays", "meanwhile"})
_FORMER = frozenset({"initially", "previously", "formerly", "originally", "earlier", "once", "then", "before"})
_KINDS = {"disp": "displacement", "degree": "displacement", "align": "displacement", "heal": "healing"}


def _is_now(clause: Clause, m: Mention) -> bool:
    """Whether a word of time stands before an attribute, within its clause, or right after it."""
    if _FORMER & {clause.word(m.first - 1), clause.word(m.last + 1)}:
        return False  # `today the fracture, displaced initially, is anatomic`
    return bool(_NOW & set(clause.words(clause.first, m.last + 1))) or clause.word(m.last + 1) in _NOW


def current(clause: Clause, mentions: Sequence[Mention]) -> list[Mention]:
    """Return the attributes without those that another of the same kind has overtaken."""
    if not _NOW & set(clause.words(clause.first, clause.last)):
        return list(mentions)
    dated = {_KINDS[m.kind] for m in mentions if m.kind in _KINDS and _is_now(clause, m)}
    return [m for m in mentions if m.kind not in _KINDS or _KINDS[m.kind] not in dated or _is_now(clause, m)]


def dated(clause: Clause, values: Values) -> Values:
    """Return the values, those that a word of time makes today's marked so."""
    at = [clause.tokens[i].start for i in range(clause.first, clause.last) if clause.word(i) in _NOW]
    if not at:
        return values
    return {
        n: replace(v, now=True) if n in {"displacement", "healing"} and min(at) <= v.end + 10 else v
        for n, v in values.items()
    }
