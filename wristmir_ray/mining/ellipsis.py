"""Clauses that repeat what was said, of other bones: `and so is the ulna`, `nor is the styloid`, `yet the radius is`.

Such a clause names bones and an auxiliary verb; what is said of them stands in the statement before it.
"""

from dataclasses import replace

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.clauses import AS, AUXILIARIES, BE, HEAD_KINDS, MAX_GAP, Clause
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.values import Value

_LIKE = frozenset({"likewise", "similarly", "ditto", "same", "too", "also", "idem", "equally", "similar"})
_SHOWS = frozenset({"shows", "show", "demonstrates", "demonstrate", "exhibits", "has", "the", "findings", "finding"})
_ANSWERS = dict.fromkeys(
    ("no", "nil", "none", "nothing", "negative", "neg", "not present", "excluded", "absent"), Presence.ABSENT
)
_ANSWERS |= dict.fromkeys(("yes", "confirmed", "positive", "present"), Presence.PRESENT)
_DENIALS = [[w, v, "not"] for w in ("it", "this", "they") for v in ("is", "was", "does", "are", "do", "has")]
_DENIALS += [["none", v] for v in ("demonstrated", "found", "detected", "shown", "evident", "visible")] + [
    ["there", "is", "none"],
    ["i", "disagree"],
    ["we", "disagree"],
]
_TIME = frozenset(
    {"today", "now", "currently", "there", "here", "on", "the", "present", "current", "this", "these", "views", "view"}
    | {"study", "exam", "examination", "films", "radiographs", "visible", "found", "present", "presently"}
)
_MODALS = frozenset({"may", "might", "could"})
_LEADS = frozenset({"the", "its", "his", "her", "left", "right", "both", ",", "and"})
_PREDICATES = frozenset({"intact", "deny", "disp", "heal", "ang", "align", "type", "typeweak", "hedge", "hedgepost"})


def read_echo(clause: Clause) -> Statement | None:
    """Return the statement of a clause that only repeats one, its `ref` same, yes, no or maybe; None for others."""
    regions = [m for m in clause.mentions if m.kind == "region"]
    kinds = {m.kind for m in clause.mentions}
    if not regions and clause.first and set(clause.words(clause.first, clause.last)) <= _LIKE | {".", "as", "above"}:
        token = clause.tokens[clause.first]  # `Ulna: likewise`
        return Statement("echo", token.start, token.end, ref="same")
    if not regions or kinds & {"ignore", "prior", "other", "negpost"}:
        return None
    words = clause.words(clause.first, clause.last)
    while words and words[-1] in {".", ",", "either"}:
        words.pop()
    ref = _likened(words, regions, clause, kinds) or _contrasted(words, regions, clause, kinds)
    return Statement("echo", regions[0].start, regions[-1].end, regions=regions, ref=ref) if ref else None


def read_answer(clause: Clause) -> Statement | None:
    """Return the statement of a clause that only answers a question (`? fracture of the ulna - no`)."""
    words = [w for w in clause.words(clause.first, clause.last) if w not in {"seen", "identified", ".", ",", "!"}]
    tokens = clause.tokens
    bare = [w for w in words if w not in _TIME and w not in BE]
    if words in _DENIALS and _opens(clause):
        return Statement("answer", tokens[clause.first].start, tokens[clause.last - 1].end, Presence.ABSENT)
    if (
        bare in (["none"], ["not"], ["it", "intact"], ["it", "normal"], ["nothing"])
        and len(bare) < len(words)
        and _opens(clause)
    ):
        return Statement("answer", tokens[clause.first].start, tokens[clause.last - 1].end, Presence.ABSENT)
    presence = _ANSWERS.get(" ".join(words))
    if presence is None or (clause.first == 0 and words not in (["yes"], ["no"], ["confirmed"])):
        return None
    start, end = tokens[clause.first].start, tokens[clause.last - 1].end
    return Statement("answer", start, end, presence, whole=clause.first > 0)


def _opens(clause: Clause) -> bool:
    """Whether a clause opens its sentence or follows a semicolon, rather than a list header."""
    return not clause.first or clause.tokens[clause.first - 1].text == ";"


def _likened(words: list[str], regions: list[Mention], clause: Clause, kinds: set[str]) -> str:
    """Return `same` for `so is the ulna`, `likewise the ulna`, `the ulna too`."""
    opening = words[1:] if words[0] == "and" else words
    as_before = opening[0] in AS and len(opening) > 1 and opening[1] in AUXILIARIES
    if as_before and regions[0].first - clause.first <= MAX_GAP + 3 and not kinds & _PREDICATES:
        return "same"
    rest = clause.words(regions[-1].last + 1, clause.first + len(words))
    alike = set(words) & _LIKE and all(w in _LIKE or w in AUXILIARIES or w in _SHOWS for w in rest)
    return "same" if alike and not kinds & (_PREDICATES | HEAD_KINDS) else ""


def _contrasted(words: list[str], regions: list[Mention], clause: Clause, kinds: set[str]) -> str:
    """Return `yes` for `yet the radius is`, `no` for `but the ulna is not`, `maybe` for `and the ulna may be`."""
    rest = clause.words(regions[-1].last + 1, clause.first + len(words))
    lead = clause.words(clause.first, regions[0].first)
    if kinds & ((_PREDICATES - {"hedge"}) | HEAD_KINDS) or set(lead) - _LEADS or not rest:
        return ""
    if rest[0] in _MODALS and rest[1:] in (["be"], ["be", "too"], ["also", "be"]):
        return "maybe"
    if "hedge" in kinds:
        return ""
    if rest[0] in AUXILIARIES and rest[1:] in ([], ["not"]):
        return "no" if rest[1:] else "yes"
    return "no" if len(rest) == 1 and rest[0].endswith("n't") else ""


def echoed(said: Statement | None, echo: Statement) -> Statement | None:
    """Return what an echo says, given the statement that it repeats."""
    if said is None:
        return None
    absent = said.presence is Presence.ABSENT
    told = replace(said, regions=echo.regions, start=echo.start, end=echo.end, side=echo.side, whole=False)
    if echo.ref == "same":
        return replace(told, known=False)
    if echo.ref == "yes":
        return replace(told, kind="fracture", presence=Presence.PRESENT, values={}) if absent else None
    if echo.ref == "maybe":
        return replace(told, kind="fracture", presence=Presence.UNCERTAIN, known=False)
    return _denied(said, told)


def _denied(said: Statement, told: Statement) -> Statement:
    if said.kind == "denial":  # `the radius is intact but the ulna is not`
        return Statement("fracture", told.start, told.end, regions=told.regions, head="one", side=told.side)
    if said.known and said.values and said.presence is not Presence.ABSENT:
        return replace(told, values=_reversed(said))  # `the radial fracture has healed but the ulnar has not`
    return replace(told, kind="fracture", presence=Presence.ABSENT, values={})


def _reversed(said: Statement) -> dict[str, Value]:
    out = {}
    for name, value in said.values.items():
        if name == "displacement" and value.value != "none":
            out[name] = replace(value, value="none")
        elif name == "healing" and value.value == "healed":
            out[name] = replace(value, value="healing")
    return out
