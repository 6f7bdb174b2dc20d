"""Several fractures of one bone, told apart: twinned, coordinated (`oblique and buckle fractures`), counted, joined.

Each becomes a head of its own.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from wristmir_ray.mining.clauses import ADJECTIVES, BE, JOINS, NOUNS, Clause, Head
from wristmir_ray.mining.counted import deal_counted
from wristmir_ray.mining.terms import Mention

_ARTICLES = frozenset({"a", "an", "another"})
RANKS = frozenset(
    {"proximal", "distal", "dorsal", "volar", "larger", "smaller", "older", "newer", "upper", "lower", "other"}
)
"""Words that tell one fracture from another: `a more distal one`."""
_PASSED = _ARTICLES | RANKS | frozenset({"also", "there", "is", "more", "distally", "separately", "then", "(", ")"})
_PARTS = frozenset({"bone", "metaphysis", "site", "region", "epiphysis"})
_BESIDE = frozenset({"superimposed", "alongside", "next", "adjacent", "beside", "top"})
_BESIDE_LEADS = _BESIDE | frozenset({"and", "apart", "aside", "besides", "addition", "together"})


def tell_apart(clause: Clause) -> None:
    """Give a clause's fractures of one bone heads of their own."""
    _twinned(clause)
    _coordinated(clause)
    deal_counted(clause)
    _joined(clause)


def _twinned(clause: Clause) -> None:
    """Read `an incomplete and a buckle fracture of the radius` as two fractures."""
    for head in list(clause.heads):
        i = head.first - 1
        left = clause.ending.get(i - 2)
        if clause.word(i) not in _ARTICLES or clause.word(i - 1) != "and" or left is None or not head.regions:
            continue
        lone = left.kind in {"type", "heal", "disp"} and (left.kind, left.value) not in NOUNS
        if (
            lone
            and left.first not in clause.claimed
            and not any(h.first <= left.first <= h.mention.first for h in clause.heads)
        ):
            before = Head(left, left.first, list(head.regions), [left])
            head.second = True
            clause.claimed.add(left.first)
            clause.heads.insert(clause.heads.index(head), before)


def _coordinated(clause: Clause) -> None:
    """Read `transverse and healing buckle fractures of the radius` as two fractures, each with its own words."""
    for head in list(clause.heads):
        if head.kind != "many" or not _single(head.regions):
            continue
        types = [a for a in head.adjectives if a.kind == "type"]
        words = clause.words(types[0].last + 1, types[-1].first) if types else []
        if len(types) == 2 and types[0].value != types[1].value and {"and", "&"} & set(words):
            own = [a for a in head.adjectives if a.first <= types[0].first]
        elif len(types) == 1:
            own = _left_of(clause, head, types[0])
        else:
            continue
        if own:
            kept = [a for a in head.adjectives if a not in own]
            first = Head(own[-1], own[0].first, list(head.regions), own)
            head.adjectives, head.second = kept, True
            clause.claimed.update(a.first for a in own)
            clause.heads.insert(clause.heads.index(head), first)


def _left_of(clause: Clause, head: Head, own: Mention) -> list[Mention]:
    """Return the adjectives joined to a head by `and`, a type of their own among them, else nothing."""
    i = head.first - 1
    if clause.word(i) not in {"and", "&"}:
        return []
    left = clause.ending.get(i - 1) or clause.ending.get(i - 2)  # `transverse metaphyseal and ...`
    out: list[Mention] = []
    while left is not None and left.kind in ADJECTIVES and left.first not in clause.claimed:
        out.insert(0, left)
        left = clause.ending.get(left.first - 1)
    return out if out and out[-1].kind == "type" and out[-1].value != own.value else []


def _joined(clause: Clause) -> None:
    """Give `and an oblique fracture` the bone of the fracture before it, or both the bone after them."""
    for before, head in pairwise(list(clause.heads)):
        near = set(clause.words(before.mention.last + 1, min(clause.last, head.mention.last + 6)))
        if "same" in near and near & _PARTS:
            if before.regions and not head.regions:
                head.regions, head.second = list(before.regions), True
            continue
        i, proform = _join_before(clause, before, head), head.kind == "proform"
        if clause.word(i + 1) in BE | {"no"} or clause.word(head.first - 1) == "no" or not _distinct(before, head):
            continue  # `extends to the physis and is a Salter-Harris II fracture`
        strong = clause.word(i) in {"and", "plus"} or clause.word(i - 1) == "and" or _beside_it(clause, before, head)
        joined = (clause.word(i) in JOINS or strong) and (strong or head.second or proform)
        if not joined or (i == head.first - 1 and not proform and not head.second):
            continue
        after = _single(head.regions) and head.regions[0].first > before.mention.last
        if not head.regions and before.regions and _single(before.regions):
            head.regions, head.second = list(before.regions), True
        elif not before.regions and after and (head.second or strong):
            before.regions, head.second = list(head.regions), True
        elif not before.regions and not head.regions and strong and _single(free := clause.free_regions()):
            before.regions, head.regions, head.second = list(free), list(free), True
            clause.claimed.update(r.first for r in free)


def _beside_it(clause: Clause, before: Head, head: Head) -> bool:
    """Whether words put one fracture beside another (`apart from an old one`, `superimposed on`, `and, nearby, a`)."""
    between = clause.words(before.mention.last + 1, head.first)
    if any(pair == ("and", ",") for pair in pairwise(between)):
        return True
    lead = [t.text for t in clause.tokens[max(0, clause.first - 2) : min(before.first, clause.first + 3)]]
    return bool(_BESIDE & set(between)) or (bool(_BESIDE_LEADS & set(lead)) and bool(head.regions))


def _join_before(clause: Clause, before: Head, head: Head) -> int:
    """Return the token that joins a head to the one before it, past articles, ranks and `separately,`."""
    i = head.first - 1
    while i > before.mention.last and (clause.word(i) in _PASSED or clause.word(i).isdigit()):
        i -= 1
    return i


def _single(regions: Sequence[Mention]) -> bool:
    return len({v for r in regions for v in r.value.split("+")}) == 1


def _distinct(a: Head, b: Head) -> bool:
    """Whether two heads are told apart by a word of their own."""
    return (
        {*_said(a)} != {*_said(b)}
        and b.mention.kind in {"fx", "type", "proform"}
        and b.kind not in {"part", "injury", "line"}
    )


def _said(head: Head) -> Iterator[tuple[str, str]]:
    yield from (
        (a.kind, a.value) for a in (*head.adjectives, head.mention) if a.kind in {"type", "heal", "disp", "degree"}
    )
