"""Type, angulation, alignment and healing from the words that say them."""

import re
from collections.abc import Sequence

from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.context import Context
from wristmir_ray.mining.current import current, dated
from wristmir_ray.mining.displacement import read_displacement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Value, Values

_TYPE_ORDER = (
    "salter_harris_v", "salter_harris_iv", "salter_harris_iii", "salter_harris_ii", "salter_harris_i", "salter_harris",
    "avulsion", "buckle", "greenstick", "plastic_bowing", "comminuted", "transverse", "oblique", "incomplete",
)  # fmt: skip
_HEALING_ORDER = ("nonunion", "healed", "healing", "healing_sign", "old", "acute")
HEALING = {"healing_sign": "healing", "old": "healed"}
"""What a term of healing means, where it is not its own value."""
NUMBER = re.compile(r"\d{1,3}(?:\.\d+)?")
_REACH = 6
PHYSIS = frozenset({"physis", "plate"})
"""What the name of a growth plate ends in."""
REACHING = ("exten", "reach", "propagat", "exit")
"""How the verbs begin by which a fracture comes to a growth plate."""


def read_values(
    clause: Clause, mentions: Sequence[Mention], context: Context, regions: Sequence[Mention] = ()
) -> Values:
    """Return the fields that these mentions of one clause give, negation applied.

    Args:
        clause: the clause.
        mentions: adjectives and nouns that are said of one fracture.
        context: what of the clause is negated.
        regions: the fracture's bones; `extending to the distal radial physis` is Salter-Harris II.
    """
    out: Values = {}
    mentions = current(clause, mentions)
    _read_type(mentions, context, out)
    for r in regions:
        words = [clause.word(i) for i in range(r.first, r.last + 1)]
        before = clause.word(r.first - 1) if clause.word(r.first - 1) != "the" else clause.word(r.first - 2)
        at = r.first - (2 if clause.word(r.first - 1) == "the" else 1)
        if words[-1] in PHYSIS and before in {"to", "into"} and clause.word(at - 1).startswith(REACHING):
            out.setdefault("fracture_type", Value("salter_harris_ii", clause.tokens[at - 1].start, r.end))
    _read_healing(clause, mentions, context, out)
    for m in mentions:
        negated = m.first in context.negated
        match m.kind:
            case "disp":
                read_displacement(clause, m, context.negated.get(m.first), out)
            case "align" if not negated:
                out.setdefault("alignment", Value(m.value, m.start, m.end))
                if regions and clause.word(m.first).startswith("anatomic"):  # a fracture `in anatomic alignment`
                    out.setdefault("displacement", Value("none", m.start, m.end))
            case "ang" if not negated:
                _read_angulation(clause, m, out)
    return dated(clause, out)


def _read_type(mentions: Sequence[Mention], context: Context, out: Values) -> None:
    stated = [m for m in mentions if m.kind == "type" and m.first not in context.negated]
    weak = [m for m in mentions if m.kind == "typeweak"]
    for m in weak:
        if m.first in context.negated:
            out["physis_involved"] = Value(False, min(context.negated[m.first].start, m.start), m.end)
    found = sorted(stated, key=lambda m: _TYPE_ORDER.index(m.value))
    if not found or found[0].value == "salter_harris":  # described, not named
        found = [m for m in weak if m.first not in context.negated] + found
    grade = next((m for m in mentions if m.kind == "grade"), None)
    if found and found[0].value == "salter_harris" and grade is not None:  # `Salter-Harris fracture ..., grade 2`
        found = [grade, *found]
    if found:
        m = found[0]
        out["fracture_type"] = Value(m.value, m.start, m.end)
        if m.value.startswith("salter"):
            out["physis_involved"] = Value(True, m.start, m.end)


def _read_healing(clause: Clause, mentions: Sequence[Mention], context: Context, out: Values) -> None:
    found = []
    for m in mentions:
        if m.kind != "heal":
            continue
        cue = context.negated.get(m.first)
        if cue is None:
            found.append((m.value, m.start, m.end))
        elif m.value == "healed" and cue.kind in {"not", "neg"}:  # `has not healed`, `none has united`
            united = clause.word(m.last).startswith("unit")
            found.append(("nonunion" if united and cue.kind == "neg" else "healing", cue.start, m.end))
    if found:
        value, start, end = min(found, key=lambda f: _HEALING_ORDER.index(f[0]))
        out["healing"] = Value(HEALING.get(value, value), start, end)


def _read_angulation(clause: Clause, m: Mention, out: Values) -> None:
    near = [d for d in clause.mentions if d.kind == "angdir" and -_REACH <= d.first - m.first <= 4]
    if near and "angulation_direction" not in out:
        d = min(near, key=lambda d: abs(d.first - m.first))
        out["angulation_direction"] = Value(d.value, min(d.start, m.start), max(d.end, m.end))
    for i in range(max(clause.first, m.first - _REACH), min(clause.last - 1, m.last + 10)):
        unit = clause.word(i + 1)
        if (
            NUMBER.fullmatch(clause.word(i))
            and (unit.startswith("deg") or unit in {"°", "º"})
            and float(clause.word(i)) <= 180
        ):
            value = float(clause.word(i))
            out.setdefault("angulation_deg", Value(value, clause.tokens[i].start, clause.tokens[i + 1].end))
            return
