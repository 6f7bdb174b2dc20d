"""Two fractures of one bone that are counted: `two fractures of the radius, a buckle and an oblique one`.

Each becomes a head of its own, or one head counts twice where nothing tells the two apart.
"""

from itertools import pairwise

from wristmir_ray.mining.clauses import ADJECTIVES, Clause, Head
from wristmir_ray.mining.terms import Mention, Term

_COUNTS = frozenset({"two", "2", "pair", "twin", "double"})
_OPENERS = frozenset({"one", "another", "first", "second", "other", "former", "latter"})
_MARKS = frozenset({":", ",", "(", "--", "and", "namely", ";", "/", "the", "with", "respectively"})
_ITEM = Term("proform", "one", "", "")


def deal_counted(clause: Clause) -> None:
    """Replace each head that counts two fractures of one bone by these."""
    for head in list(clause.heads):
        if head in clause.heads and _is_counted(clause, head):
            _deal(clause, head)


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
