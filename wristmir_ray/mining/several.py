"""Several fractures of one bone: counted (`two fractures of the radius, one ...`), joined (`and an oblique one`).

Each becomes a head of its own, or one head that counts twice where nothing tells the two apart.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from wristmir_ray.mining.clauses import ADJECTIVES, BE, JOINS, NOUNS, Clause, Head
from wristmir_ray.mining.terms import Mention, Term

_COUNTS = frozenset({"two", "2", "pair", "twin", "double"})
_ARTICLES = frozenset({"a", "an", "another"})
_OPENERS = frozenset({"one", "another", "first", "second", "other", "former", "latter"})
RANKS = frozenset(
    {"proximal", "distal", "dorsal", "volar", "larger", "smaller", "older", "newer", "upper", "lower", "other"}
)
"""Words that tell one fracture from another: `a more distal one`."""
_MARKS = frozenset({":", ",", "(", "--", "and", "namely", ";", "/", "the", "with", "respectively"})
_ITEM = Term("proform", "one", "", "")


def tell_apart(clause: Clause) -> None:
    """Give a clause's fractures of one bone heads of their own."""
    _twinned(clause)
    _coordinated(clause)
    for head in list(clause.heads):
        if head in clause.heads and _is_counted(clause, head):
            _deal(clause, head)
    _joined(clause)


def _is_counted(clause: Clause, head: Head) -> bool:
    """Whether a head speaks of two fractures of one bone."""
    places = {v for r in head.regions for v in r.value.split("+")}
    under = not head.regions and clause.first > 0 and clause.tokens[clause.first - 1].text == ":"
    if (len(places) != 1 and not under) or not _beside(clause, head) or head.mention.kind not in {"fx", "type"}:
        return False
    counted = _COUNTS & set(clause.words(max(clause.first, head.first - 3), head.mention.first))
    after = clause.words(head.mention.last + 1, min(clause.last, head.mention.last + 9))
    levels = any(a in _COUNTS and b in {"levels", "sites", "places", "points"} for a, b in pairwise(after))
    levels |= "twice" in after[:3]
    return bool(counted and (head.kind == "many" or clause.word(head.mention.last) in {"lines", "sites"})) or levels


def _beside(clause: Clause, head: Head) -> bool:
    """Whether no mark stands between the count and its bone (`two fractures: radius ...` is of several)."""
    between = [w for r in head.regions for w in clause.words(head.mention.last + 1, r.first)]
    return not {":", ",", "that"} & set(between)


def _deal(clause: Clause, head: Head) -> None:
    """Replace a counted head by its listed ones; else let it count twice."""
    place = {v for r in head.regions for v in r.value.split("+")}
    items = [m for m in _items(clause, head) if _speaks(clause, m)]
    own = {m.first: h for m in items for h in clause.heads if h is not head and m.first <= h.mention.first == m.last}
    elsewhere = any({v for r in h.regions for v in r.value.split("+")} - place for h in own.values())
    if len(items) != 2 or elsewhere:
        head.twice = head.twice or not elsewhere
        return
    clause.heads.remove(head)
    for k, m in enumerate(items):
        found = own.get(m.first)
        if found is None:
            found = Head(m, m.first, adjectives=[a for a in clause.mentions if a.kind in ADJECTIVES and _within(a, m)])
            _enter(clause, m)
            clause.heads.append(found)
        found.regions, found.second = list(head.regions), k > 0
        found.adjectives = [*found.adjectives, *(a for a in head.adjectives if a.kind != "grade")]
    clause.heads.sort(key=lambda h: h.mention.first)


def _enter(clause: Clause, m: Mention) -> None:
    """Put an item among the mentions, in the place of those that it covers."""
    kept = [x for x in clause.mentions if x.last < m.first or x.first > m.last]
    clause.mentions = sorted([*kept, m], key=lambda x: x.first)
    clause.starting = {x.first: x for x in clause.mentions}
    clause.ending = {x.last: x for x in clause.mentions}


def _items(clause: Clause, head: Head) -> list[Mention]:
    """Return what opens each of the two after the count: a head with an article, `one`, `the other`, a bare type."""
    i, out = head.mention.last + 1, []
    while i < clause.last:
        follower = next((h for h in clause.heads if h.first == i and h is not head), None)
        if follower is not None:
            out.append(
                Mention(follower.mention.term, i, follower.mention.last, follower.mention.start, follower.mention.end)
            )
            i = follower.mention.last
        elif (noun := _typed_noun(clause, i)) is not None:
            out.append(Mention(noun.term, i, noun.last, clause.tokens[i].start, noun.end))
            i = noun.last
        elif clause.word(i) in _OPENERS and _is_item(clause, i):
            last = i + (clause.word(i + 1) == "one")
            out.append(Mention(_ITEM, i, last, clause.tokens[i].start, clause.tokens[last].end))
            i = last
        i += 1
    if not out:
        out = _typed(clause, head)
    return out


def _within(a: Mention, m: Mention) -> bool:
    return m.first <= a.first and a.last <= m.last


def _typed_noun(clause: Clause, i: int) -> Mention | None:
    """Return the type that an article at token `i` opens, where it stands for the fracture (`a healed torus`)."""
    k = i + 1
    while clause.word(i) in {"a", "an"} and (m := clause.starting.get(k)) is not None and m.kind in ADJECTIVES:
        if m.kind == "type":
            return None if any(h.first <= m.first <= h.mention.first for h in clause.heads) else m
        k = m.last + 1
    return None


def _is_item(clause: Clause, i: int) -> bool:
    """Whether `one` opens an item, not a fracture of another bone (`one of the ulnar styloid`)."""
    typed = clause.starting.get(i + 2)
    if clause.word(i + 2) in {"them", "these", "which"}:
        return True
    return clause.word(i + 1) != "of" or (typed is not None and typed.kind == "type")


def _typed(clause: Clause, head: Head) -> list[Mention]:
    """Return two types that a mark parts from the count (`two fractures (buckle and incomplete)`)."""
    types = [m for m in clause.mentions if m.kind == "type" and m.first > head.mention.last]
    marked = [m for m in types if clause.word(m.first - 1) in _MARKS]
    return types if len(types) == len(marked) == 2 and types[0].value != types[1].value else []


def _speaks(clause: Clause, item: Mention) -> bool:
    """Whether an item says something of its fracture, rather than where it is alone."""
    if item.kind == "type" or any(
        a.kind in ADJECTIVES for h in clause.heads if h.first == item.first for a in h.adjectives
    ):
        return True
    for m in clause.mentions:
        if m.first > item.last and (m.kind in ADJECTIVES and m.kind != "angdir"):
            return not any(item.last < i < m.first and clause.word(i) in _OPENERS for i in range(item.last, m.first))
    return False


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
        i, proform = head.first - 1, head.kind == "proform"
        if {"same", "bone"} <= set(clause.words(before.mention.last + 1, min(clause.last, head.mention.last + 6))):
            if before.regions and not head.regions:
                head.regions, head.second = list(before.regions), True
            continue
        while i > before.mention.last and clause.word(i) in _ARTICLES | RANKS | {
            "also",
            "there",
            "is",
            "more",
            "distally",
        }:
            i -= 1
        if clause.word(i + 1) in BE:
            continue  # `extends to the physis and is a Salter-Harris II fracture`
        joined = clause.word(i) in JOINS and (
            clause.word(i) == "and" or clause.word(i - 1) == "and" or head.second or proform
        )
        if not joined or (i == head.first - 1 and not proform and not head.second) or not _distinct(before, head):
            continue
        if not head.regions and before.regions and _single(before.regions):
            head.regions, head.second = list(before.regions), True
        elif not before.regions and _single(head.regions) and head.second and head.regions[0].first > head.mention.last:
            before.regions = list(head.regions)


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
