"""What a report expects rather than sees: `would be expected to show callus by now`, `healing is awaited`."""

from wristmir_ray.mining.clauses import JOINS, Clause
from wristmir_ray.mining.terms import Mention

_WOULD = frozenset({"would", "should", "ought"})
_AWAITED = frozenset({"expected", "anticipated", "awaited", "hoped", "envisaged"})
_LIKENS = frozenset({"as", "than"})
"""`As expected`, `more than would be expected`: what is compared with an expectation is there."""
_REACH = 8


def foreseen(clause: Clause, m: Mention) -> bool:
    """Whether signs of healing, or an alignment, are only what should come or should have come."""
    return m.kind in {"heal", "align"} and (_promised(clause, m) or _awaited(clause, m))


def _promised(clause: Clause, m: Mention) -> bool:
    """Whether the verb before says so: `should show callus and new bone`."""
    i = m.first - 1
    while i >= clause.first:
        word, left = clause.word(i), clause.ending.get(i - 1)
        if word in JOINS and (left is None or left.kind not in {"heal", "align"}):
            return False
        if word in _WOULD or (word in _AWAITED and clause.word(i + 1) == "to"):
            return clause.word(i - 1) not in _LIKENS
        i -= 1
    return False


def _awaited(clause: Clause, m: Mention) -> bool:
    """Whether the verb after says so: `callus would be expected`, `union is awaited`."""
    for i in range(m.last + 1, m.last + 1 + _REACH):
        word = clause.word(i)
        if word in JOINS or word in _LIKENS or word in {"", ".", "which", "that"}:
            return False
        if word in _WOULD or word in _AWAITED:
            return True
    return False
