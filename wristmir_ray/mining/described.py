"""Attributes outside a noun phrase, and whose they are: a head's of the clause, a bone's, or an earlier one's."""

from collections.abc import Iterator
from dataclasses import replace

from wristmir_ray.mining.attributes import read_values
from wristmir_ray.mining.bearers import LINKED, bearers, loose
from wristmir_ray.mining.clauses import JOINS, Clause, Head
from wristmir_ray.mining.context import Context
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention

_PRONOUNS = frozenset({"it", "its", "this", "which", "that"})
_JOINTS = frozenset({"wrist", "joint", "joints", "carpal", "carpus", "radiocarpal", "articular", "druj", "normal"})
"""Words of an alignment that is no fracture's."""
_EXAM = frozenset(
    {"view", "views", "radiograph", "radiographs", "films", "images", "projections", "overall", "reduction"}
    | {"postreduction", "fractures", "both", "study", "manipulation", "cast", "plaster"}
)
"""Words of an alignment that is not of the one bone of a list header."""
_LINKS = frozenset(
    {
        "of",
        "in",
        "at",
        "across",
        "about",
        "around",
        "along",
        "through",
        "to",
        "the",
        "this",
        "a",
        "an",
        "either",
        "both",
    }
    | {"known", "previously", "noted", "seen"}
)


def following_attributes(clause: Clause, head: Head) -> list[Mention]:
    """Return the attributes outside a head's noun phrase that are said of it."""
    if (own := _in_turn(clause, head)) is not None:
        return own
    return [m for m in loose(clause) if _target(clause, m) is head or (head in clause.heads and _shared(clause, m))]


def _in_turn(clause: Clause, head: Head) -> list[Mention] | None:
    """Return a head's own where `respectively` deals attributes out (`A and B, respectively displaced and not`)."""
    if (
        len(clause.heads) != 2
        or head not in clause.heads
        or "respectively" not in clause.words(clause.first, clause.last)
    ):
        return None
    late = [m for m in loose(clause) if m.first > clause.heads[-1].mention.last and m.kind in {"type", "disp", "heal"}]
    return [late[clause.heads.index(head)]] if len(late) == 2 else None


def _shared(clause: Clause, m: Mention) -> bool:
    """Whether `both` or `all` makes an attribute that of every head before it."""
    if len(clause.heads) < 2:
        return False
    first, last = clause.heads[0].first, clause.heads[-1].mention.last
    refs = [b for b in clause.mentions if _is_both(clause, b)]
    if (
        any(b.kind == "both" and (b.first == m.last + 1 >= clause.last - 2 or b.last < first) for b in refs)
        and m.first > last
    ):
        return True  # `..., nondispl both`; `both the radial fracture and the ulnar fracture are displaced`
    return any(last < b.first < m.first or m.last < b.first <= first for b in refs)


def _is_both(clause: Clause, m: Mention) -> bool:
    """Whether a word takes up all the fractures before it: `both`, `neither of them`, `none is`."""
    after = clause.starting.get(m.last + 1)
    alone = m.last > m.first or (after is not None and after.kind in {"verb", "disp", "heal"})
    alone |= clause.word(m.last + 2) == ","  # `neither fracture, that of the radius nor that of the ulna, is displaced`
    return m.kind == "both" or (m.kind == "neg" and clause.word(m.first) in {"neither", "none"} and alone)


def _target(clause: Clause, m: Mention) -> Head | None:
    """Return the head of this clause that an attribute belongs to; None where it has another owner."""
    if bearers(clause, m):
        return None
    if any(x.kind in {"former", "latter"} and x.last < m.first for x in clause.mentions):
        return None
    after = clause.head_after(m.last)
    if after is not None and (m.kind, m.value) in LINKED and _linked(clause, m.last + 1, after.first):
        return after
    for x in reversed([x for x in clause.mentions if x.last < m.first]):
        head = next((h for h in clause.heads if h.mention is x), None)
        if head is not None:
            return head
        if (
            x.kind == "other"
            and not clause.word(x.first).startswith("epiphys")
            and (m.kind, m.value) not in {("heal", "healing_sign"), ("align", "anatomic")}
            and (m.kind != "type" or m.value == "plastic_bowing")
        ):
            return None
    return after if after is not None and after.neg is None else None


def _linked(clause: Clause, first: int, last: int) -> bool:
    """Whether only prepositions, articles and light words stand between an attribute and a head."""
    words = [clause.word(i) for i in range(first, last)]
    allowed = _LINKS
    return len(words) <= 6 and bool(words) and all(w in allowed for w in words)


def attributes(clause: Clause, context: Context) -> Iterator[Statement]:
    """Yield what is said of bones without a head, or of a fracture that an earlier clause named."""
    groups: dict[tuple[str, tuple[int, ...]], list[Mention]] = {}
    refs = [m for m in clause.mentions if m.kind in {"former", "latter"} or _is_both(clause, m)]
    for m in loose(clause):
        if _target(clause, m) is None and not _shared(clause, m) and not _is_of_fat(clause, m):
            key = next((x.kind for x in reversed(refs) if x.first < m.first), refs[0].kind if refs else "")
            key = "both" if key == "neg" else key
            groups.setdefault((key, tuple(r.first for r in bearers(clause, m))), []).append(m)
    plan = next((m.first for m in clause.mentions if m.kind == "ignore"), clause.last)
    for (ref, starts), mentions in groups.items():
        values = read_values(clause, [m for m in mentions if m.first < plan], context)
        spans = list(values.values())
        regions = [clause.starting[s] for s in starts]
        if values or regions:
            start = min((v.start for v in spans), default=mentions[0].start)
            end = max((v.end for v in spans), default=mentions[-1].end)
            kind = "fracture" if "fracture_type" in values and _is_gapped(clause, regions) else "attribute"
            yield from _parted(
                clause, Statement(kind, start, end, regions=regions, values=values, ref=ref, head="type")
            )


def _parted(clause: Clause, s: Statement) -> Iterator[Statement]:
    """Yield an alignment that names no bone as all fractures', apart from what else is said."""
    words = set(clause.words(clause.first, clause.last))
    single = s.regions or s.ref or s.kind != "attribute" or clause.word(clause.first) in _PRONOUNS
    single = single or any(m.kind == "region" for m in clause.mentions)
    if "alignment" not in s.values or single or words & _JOINTS:
        yield s
        return
    value = s.values["alignment"]
    exam = bool(words & _EXAM)
    yield replace(s, start=value.start, end=value.end, values={"alignment": value}, shared=True, whole=exam)
    if rest := {n: v for n, v in s.values.items() if n != "alignment"}:
        yield replace(s, values=rest)


def _is_of_fat(clause: Clause, m: Mention) -> bool:
    """Whether a soft tissue is what is displaced (`the fat stripe is displaced`)."""
    near = [x for x in clause.mentions if x.last < m.first and x.kind not in {"verb", "degree", "copula"}]
    words = clause.words(near[-1].first, near[-1].last + 1) if near and near[-1].kind == "other" else []
    return m.kind == "disp" and bool({"fat", "stripe", "pad", "plane", "quadratus"} & set(words))


def _is_gapped(clause: Clause, regions: list[Mention]) -> bool:
    """Whether bones share the verb of the fracture before them (`and the ulna obliquely`)."""
    if not regions:
        return False
    i = regions[0].first - (2 if clause.word(regions[0].first - 1) == "the" else 1)
    head = clause.head_before(i)
    return clause.word(i) in JOINS and head is not None and head.neg is None and not head.latent
