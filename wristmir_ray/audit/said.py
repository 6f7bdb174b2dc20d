"""Which values of a field a quote says, by the term table: the other half of evidence.

That a quote stands in the report proves nothing of the value beside it: `buckle` under the quote
`transverse` is a made-up value with a true quote.
"""

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from wristmir_ray.audit.passages import Passage
from wristmir_ray.mining.attributes import HEALING, NUMBER, PHYSIS, REACHING
from wristmir_ray.mining.clauses import NOUNS
from wristmir_ray.mining.findings import CROPPED, Place
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention

_HEADS = frozenset({"fx", "combo", "deny", "intact", "region", "type"})
_CUES = frozenset({"neg", "not", "spare"})
_PHYSEAL = PHYSIS | {"physes", "physeal", "epiphysis", "epiphyseal"}
_VIEWS = {"lateral": "lateral", "oblique": "oblique", "pa": "pa", "ap": "pa", "frontal": "pa"}
Said = frozenset[Any]


def says(field: str, passage: Passage) -> Said:
    """Return every value of `field` that a passage can be read to say; empty where it says none.

    It errs on the side of the record: a long quote says all that stands in it.
    """
    return _READERS[field](passage)


def presences_of(place: Place, passage: Passage) -> Said:
    """Return what a passage states of a place: where it names the place, what it says of other bones does not count."""
    named = [s for s in passage.statements if place.value in _bones(s)]
    loose = [s for s in passage.statements if not s.regions]
    return frozenset(s.presence for s in ([*named, *loose] if named else passage.statements))


def _bones(statement: Statement) -> set[str]:
    return {v for m in statement.regions for v in m.value.split("+")}


def denies_all(passage: Passage) -> Said:
    """Return the places that `no fracture` and `bones are intact` deny: the three, where no bone is named."""
    kinds = {m.kind for m in passage.mentions}
    return frozenset(CROPPED) if kinds & {"fx", "deny", "intact", "all"} and "region" not in kinds else frozenset()


def _region(p: Passage) -> Said:
    return frozenset(v for m in p.mentions if m.kind in {"region", "combo"} for v in m.value.split("+"))


def _presence(p: Passage) -> Said:
    return frozenset(s.presence for s in p.statements)


def _type(p: Passage) -> Said:
    said = {m.value for m in p.mentions if m.kind in {"type", "grade", "typeweak"}}
    if _PHYSEAL & set(p.words) and any(w.startswith(REACHING) for w in p.words):
        said |= {"salter_harris_ii"}  # `extending to the physis`
    return frozenset(said)


def _displacement(p: Passage) -> Said:
    said: set[str] = set()
    for at, m in enumerate(p.mentions):
        if m.kind != "disp":
            continue
        if _denied(p, at):
            said.add("none")
        elif m.value in {"adj", "noun"}:
            said |= _degrees(p, at) or {"present"}
        else:
            said.add(m.value)
    return frozenset(said)


def _degrees(p: Passage, at: int) -> set[str]:
    """Return the degrees before a displacement, else after it, up to the next head."""
    return {m.value for m in _near(p, at, -1) if m.kind == "degree"} or {
        m.value for m in _near(p, at, 1) if m.kind == "degree"
    }


def _denied(p: Passage, at: int) -> bool:
    """Whether a cue denies the mention itself, not a noun between (`no displacement of the Salter-Harris II ...`)."""
    own = takewhile(lambda m: (m.kind, m.value) not in NOUNS, _near(p, at, -1))
    return any(m.kind in _CUES for m in own) or any(m.kind == "negpost" for m in _near(p, at, 1))


def _near(p: Passage, at: int, step: int) -> list[Mention]:
    """Return the mentions before (-1) or after (1) one, up to the next bone or fracture."""
    out: list[Mention] = []
    at += step
    while 0 <= at < len(p.mentions) and p.mentions[at].kind not in _HEADS:
        out.append(p.mentions[at])
        at += step
    return out


def _healing(p: Passage) -> Said:
    said: set[str] = set()
    for at, m in enumerate(p.mentions):
        if m.kind == "heal":
            value = HEALING.get(m.value, m.value)
            said.add("healing" if value == "healed" and _denied(p, at) else value)
    return frozenset(said)


def _physis(p: Passage) -> Said:
    named = [at for at, m in enumerate(p.mentions) if m.value.startswith("salter_harris")]
    if named:
        return frozenset(not _denied(p, at) for at in named)
    if not _PHYSEAL & set(p.words):
        return frozenset()
    return frozenset({not any(m.kind in _CUES for m in p.mentions)})


def _views(p: Passage) -> Said:
    return frozenset([m.value for m in p.mentions if m.kind == "view"] + [_VIEWS[w] for w in p.words if w in _VIEWS])


def _degrees_of_angle(p: Passage) -> Said:
    return frozenset(round(float(w), 2) for w in p.words if NUMBER.fullmatch(w))


def _cast(p: Passage) -> Said:
    """Return what is worn; `none` too, since a quote may be the noun alone: whether it is denied, `checks` compares."""
    worn = {m.value for m in p.mentions if m.kind == "immob"}
    return frozenset(worn | {"none"}) if worn else frozenset()


def _hardware(p: Passage) -> Said:
    return frozenset({True, False}) if any(m.kind == "hardware" for m in p.mentions) else frozenset()


def _named(kind: str) -> Callable[[Passage], Said]:
    return lambda p: frozenset(m.value for m in p.mentions if m.kind == kind)


def _remarked(kind: str) -> Callable[[Passage], Said]:
    return lambda p: frozenset(r.mention.value for r in p.remarks if r.mention.kind == kind and r.stated)


_READERS: dict[str, Callable[[Passage], Said]] = {
    "region": _region,
    "presence": _presence,
    "side": _named("side"),
    "fracture_type": _type,
    "displacement": _displacement,
    "angulation_direction": _named("angdir"),
    "angulation_deg": _degrees_of_angle,
    "alignment": _named("align"),
    "healing": _healing,
    "physis_involved": _physis,
    "views": _views,
    "bone_quality": _named("bone"),
    "immobilisation": _cast,
    "hardware": _hardware,
    "ossification": _remarked("ossification"),
    "other": _remarked("other"),
}
