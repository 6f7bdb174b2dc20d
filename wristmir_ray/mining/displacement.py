"""The degree of a displacement: before it, after it, or in its predicate; what was so before is not so now."""

from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Value, Values

_DEGREES = ("minimal", "mild", "moderate", "severe")
_BETWEEN = frozenset(
    {"dorsal", "volar", "palmar", "radial", "ulnar", "lateral", "medial", "posterior", "anterior", "dorsally"}
    | {"volarly", "laterally", "medially", "radially", "ulnarly", "and", "angulated", "angulation", "impacted"}
    | {"impaction", "tilt", "residual", "interval", "apex", "or", "to", "only", ",", "rotated", "shortening"}
    | {"overall", "translated", "(", ")", "%", "mm", "cm", "approximately", "about", "degree", "amount", "of", "but"}
    | {"persistent", "in", "grade", "posteriorly", "anteriorly", "rotation", "shortened"}
)
_FORMER = frozenset({"previously", "formerly", "initially", "originally", "earlier", "from", "once"})
_TIMES = frozenset({"ago", "initially", "originally", "previously", "earlier", "formerly", "presentation"})
_MEASURING = frozenset({"by", "approximately", "about", "up", "to", "almost", "nearly", "towards", "a", "the", "some"})
_REACH = 6


def read_displacement(clause: Clause, m: Mention, cue: Mention | None, out: Values) -> None:
    """Set the displacement that a mention gives; `cue` denies it."""
    if "displacement" in out and out["displacement"].value not in {"present"}:
        return
    if cue is not None:
        if m.value != "none":
            out["displacement"] = Value("none", min(cue.start, m.start), max(cue.end, m.end))
        return
    if m.value not in {"adj", "noun"}:
        if not _is_former(clause, m):
            out["displacement"] = Value(m.value, m.start, m.end)
        return
    degree = _degree(clause, m)
    if _is_former(clause, m if degree is None or degree.first > m.first else degree):
        return
    start = min(m.start, degree.start) if degree else m.start
    out["displacement"] = Value(degree.value if degree else "present", start, max(m.end, degree.end if degree else 0))


def _is_former(clause: Clause, m: Mention) -> bool:
    """Whether a word says what was, beside a word for what is (`previously displaced, now anatomic`)."""
    if clause.word(m.first - 1) in {"was", "were", "been"}:  # `two weeks ago it was undisplaced`
        return bool(_TIMES & set(clause.words(clause.first, clause.last)))
    return clause.word(m.first - 1) in _FORMER and any(
        x.first > m.last and x.kind in {"disp", "degree", "align", "ang"} for x in clause.mentions
    )


def _degree(clause: Clause, m: Mention) -> Mention | None:
    """Return the degree of a displacement: the largest before it, else the one after it or after its verb."""
    found = _before(clause, m)
    after = _after(clause, m)
    if not found and after is not None and after.kind == "degree" and (m.value == "adj" or _closes(clause, after)):
        found = [after]
    if not found and m.value == "noun":
        found = _predicated(clause, m)
    after = clause.starting.get(m.last + 2)
    if not found and clause.word(m.last + 1) in {":", "(", "is", "=", ",", "--"} and after is not None:
        found = [after] if after.kind == "degree" and (clause.word(m.last + 1) != "," or _closes(clause, after)) else []
    return max(found, key=lambda d: _DEGREES.index(d.value)) if found else None


def _after(clause: Clause, m: Mention) -> Mention | None:
    """Return the mention after a displacement: `displaced minimally`, `displaced dorsally by a full shaft width`."""
    i = m.last + 1
    while i < clause.last and i - m.last <= _REACH:
        after = clause.starting.get(i)
        if after is not None and after.kind != "angdir":
            return after
        if after is None and clause.word(i) not in _MEASURING:
            return None
        i = (after.last if after is not None else i) + 1
    return None


def _closes(clause: Clause, degree: Mention) -> bool:
    """Whether a degree belongs to nothing after it: `displacement, mild`, not `displacement, mild swelling`."""
    return clause.word(degree.last + 1) in {"", ",", ".", ")", "only"}


def _before(clause: Clause, m: Mention) -> list[Mention]:
    found: list[Mention] = []
    i = m.first - 1
    while i >= clause.first and m.first - i <= _REACH:
        left = clause.ending.get(i)
        if left is not None and left.kind == "degree":
            found.append(left)
        elif not _between(clause.word(i)) and (left is None or left.kind not in {"angdir", "ang", "type"}):
            break
        i = (left.first if left is not None else i) - 1
    return [d for d in found if not _is_former(clause, d)]


def _between(word: str) -> bool:
    return word in _BETWEEN or word[:1].isdigit()


def _predicated(clause: Clause, m: Mention) -> list[Mention]:
    """Return the degree that the verb of a noun gives: `displacement of the radius, once severe, is now mild`."""
    verb, now, found = False, False, []
    for x in [x for x in clause.mentions if x.first > m.last]:
        if x.kind in {"disp", "ang", "heal"}:
            break
        verb |= x.kind in {"verb", "copula"}
        now |= "now" in clause.words(m.last, x.first)
        if x.kind == "degree" and (verb or now) and clause.word(x.first - 1) not in _FORMER:
            found.append(x)
    return found[:1]
