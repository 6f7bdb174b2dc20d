"""Statements of fractures: one head, its presence, its bones and what is said of it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from wristmir_ray.anatomy import Presence
from wristmir_ray.mining.attributes import read_values
from wristmir_ray.mining.clauses import Clause, Head
from wristmir_ray.mining.context import Context
from wristmir_ray.mining.described import following_attributes
from wristmir_ray.mining.nuances import asks, contrasts, explained, further, of_one_kind
from wristmir_ray.mining.statements import MAX_SPAN, Statement
from wristmir_ray.mining.terms import Mention, Term
from wristmir_ray.mining.values import Value

_SHAFT = frozenset({"midshaft", "diaphyseal", "shaft", "midshafts"})
_LONG = frozenset({"distal_radius", "distal_ulna", "distal_radius+distal_ulna"})
_ORDERS = frozenset({"former", "latter"})
_WHOLE = frozenset({"all", "one", "many", "verb"})


def fractures(clause: Clause, head: Head, context: Context) -> Iterator[Statement]:
    """Yield the statements of one head: one, or one a bone where types or doubts differ."""
    regions = _eponym(head) if head.kind == "combo" else head.regions or _fallback(clause, head)
    own = _own(clause, head)
    if explained(clause, head):
        return
    if head.kind == "injury" and head.neg is None and not any(a.kind == "type" for a in own):
        yield from pronominal(clause, head)
        return
    start, end = _extent(clause, head)
    values = read_values(clause, own, context, regions) if head.neg is None else {}
    statement = Statement(
        "fracture",
        start,
        end,
        presence=_presence(head),
        regions=[
            _placed(clause, head, r)
            for r in regions
            if head.neg is not None or not any(r is h for h in head.hedged_regions)
        ],
        values=values,
        head=_kind(head),
        known=head.known or head.kind in {"part", "compound"},
        second=head.second or further(clause, head),
        sign=_is_sign(head),
        latent=head.latent,
        plural=head.kind == "many",
        ref=_reference(clause, head),
        whole=_is_whole(clause, head),
        rest=head.other or bool(head.adjectives) or any(m.kind == "extra" for m in clause.mentions),
        question=asks(clause, head),
    )
    if statement.regions or not head.hedged_regions:
        dealt = list(_dealt(clause, head, statement, context))
        yield from dealt
        if head.twice and head.neg is None:
            yield from (replace(d, second=True) for d in dealt)
    if head.hedged_regions and head.neg is None:
        yield Statement(
            "fracture", start, end, Presence.UNCERTAIN, head.hedged_regions, head=head.kind, latent=head.latent
        )


def _is_whole(clause: Clause, head: Head) -> bool:
    """Whether a head that names no bone, if denied, is denied of all."""
    every = head.kind in _WHOLE or head.kind == "deny"
    return every and not (head.hardware or contrasts(clause, head) or of_one_kind(clause, head))


def _own(clause: Clause, head: Head) -> list[Mention]:
    """Return the attributes of a head's noun phrase, its own type among them."""
    own = [*head.adjectives, *(following_attributes(clause, head) if not head.planned else [])]
    own += [head.mention] if head.mention.kind == "type" else []
    if head.hedge is not None:  # of what may be a fracture, sclerosis is no healing
        own = [a for a in own if not clause.word(a.first).startswith("scler")]
    return own


def pronominal(clause: Clause, head: Head) -> Iterator[Statement]:
    """Yield what `it is an acute injury` says of the fracture before."""
    start = clause.tokens[head.first].start
    acute = {"acute", "fresh"} & set(clause.words(head.first, head.mention.last))
    if acute and clause.word(clause.first) in {"it", "this", "these"}:
        value = Value("acute", start, head.mention.end)
        yield Statement("attribute", start, head.mention.end, values={"healing": value})


def _placed(clause: Clause, head: Head, region: Mention) -> Mention:
    """Return the bone, as one of the forearm where the head says so (`midshaft fracture of the ulna`)."""
    lead = clause.words(max(clause.first, head.first - 2), head.mention.first)
    if not _SHAFT & set(lead) or "distal" in clause.words(region.first, region.last + 1):
        return region
    return replace(region, term=Term("region", "forearm", "", "")) if region.value in _LONG else region


def _reference(clause: Clause, head: Head) -> str:
    """Return the word before a head that says which fractures it describes (`both are of buckle type`)."""
    kinds = _ORDERS | ({"both"} if head.kind in {"type", "part"} and not head.regions else set())
    return next((m.kind for m in reversed(clause.mentions) if m.kind in kinds and m.last < head.first), "")


def _eponym(head: Head) -> list[Mention]:
    """Return the bones of a head that implies its own (`Colles fracture`, `DRF`), and what is named besides."""
    own = set(head.mention.value.split("+"))
    return [head.mention, *(r for r in head.regions if not own & set(r.value.split("+")))]


def _dealt(clause: Clause, head: Head, statement: Statement, context: Context) -> Iterator[Statement]:
    """Deal adjectives out to bones where each has its own; else pass the statement on.

    `Buckle and transverse fractures of the radius and ulna, respectively`; `mildly displaced distal
    radius and nondisplaced ulnar styloid fractures`.
    """
    own = _respective(clause, statement.regions) or _interleaved(head, statement.regions)
    own = own or _where(clause, head, statement.regions)
    if not own:
        yield statement
        return
    for region, adjectives in zip(statement.regions, own, strict=True):
        values = {**statement.values, **read_values(clause, adjectives, context)}
        if len(adjectives) == 1 and adjectives[0].kind == "degree":  # `severely and minimally displaced, respectively`
            values["displacement"] = Value(adjectives[0].value, adjectives[0].start, adjectives[0].end)
        yield replace(statement, regions=[region], values=values)


def _respective(clause: Clause, regions: Sequence[Mention]) -> list[list[Mention]]:
    """Return one attribute a bone where `respectively` deals out as many as there are bones."""
    if len(regions) < 2 or "respectively" not in clause.words(clause.first, clause.last):
        return []
    lists = ([m for m in clause.mentions if m.kind == kind] for kind in ("type", "degree", "heal", "disp"))
    return next(([[a] for a in dealt] for dealt in lists if len(dealt) == len(regions)), [])


def _where(clause: Clause, head: Head, regions: Sequence[Mention]) -> list[list[Mention]]:
    """Return each bone's own degree where they follow the head: `severe in the radius and mild in the ulna`."""
    placed: dict[str, list[Mention]] = {}
    for m in clause.mentions:
        late = m.kind == "degree" and m.first > head.mention.last and clause.word(m.last + 1) in {"in", "at", "for"}
        bone = next((b for b in clause.mentions if late and b.first > m.last and b.kind != "known"), None)
        if bone is not None and bone.kind == "region" and bone.first - m.last <= 3:
            placed[bone.value] = [m]
    own = [placed.get(r.value, []) for r in regions]
    return own if len(own) > 1 and all(own) else []


def _interleaved(head: Head, regions: Sequence[Mention]) -> list[list[Mention]]:
    """Return each bone's own adjectives where a later bone, too, has some before it."""
    before = [r for r in regions if r.last < head.mention.first]
    if len(before) < 2 or len(before) != len(regions):
        return []
    starts = [0, *(r.last for r in before[:-1])]
    own = [[a for a in head.adjectives if s <= a.first < r.first] for s, r in zip(starts, before, strict=True)]
    return own if all(own) else []


def _kind(head: Head) -> str:
    """Return the kind of a head for the ledger: a denied buckle is a line that is not there."""
    if head.kind == "weak" and not _is_sign(head):
        return "one"
    return "line" if head.kind == "type" and head.mention.value == "buckle" and head.neg is not None else head.kind


def _is_sign(head: Head) -> bool:
    """Whether a head is a mere sign (`irregularity`, `lucency`), not a named fracture (`buckle deformity`)."""
    return head.kind in {"weak", "lucency"} and not any(a.kind == "type" for a in head.adjectives)


def _presence(head: Head) -> Presence:
    if head.neg is not None:
        return Presence.ABSENT
    if head.hedge is not None or (head.kind == "weak" and _is_sign(head)):
        return Presence.UNCERTAIN
    return Presence.PRESENT


def _extent(clause: Clause, head: Head) -> tuple[int, int]:
    cues = [c for c in (head.neg, head.hedge) if c is not None]
    start = min(clause.tokens[head.first].start, *(c.start for c in cues), head.mention.start)
    end = max(head.mention.end, *(c.end for c in cues), 0)
    return (start, end) if end - start <= MAX_SPAN else (head.mention.start, head.mention.end)


def _fallback(clause: Clause, head: Head) -> list[Mention]:
    """Return the bones of a head that names none: free ones before it, else after it."""
    if head.kind in {"compound", "part"} and not any(a.kind == "type" for a in head.adjectives):
        return []
    if head.neg is not None and any(m.kind == "hardware" and m.first < head.first for m in clause.mentions):
        head.hardware = True  # `screws without lucency or breakage`
        return []
    if head.neg is not None:  # `the ulna is normal, without fracture`
        taken = {r.first for h in clause.heads for r in h.regions}
        free = [m for m in clause.mentions if m.kind == "region" and m.first not in taken]
        explained = any(m.kind == "link" and m.last < head.first for m in clause.mentions)
        blocking = {"all"} if explained else {"other", "all"}  # `it represents an ossicle, not a fracture`
    else:
        free, blocking = [r for r in clause.free_regions() if not _has_statement(clause, r)], {"all", "intact"}
        linked = any(m.kind == "link" and 0 <= head.first - m.last <= 3 for m in clause.mentions)
        linked |= clause.word(head.first - 1) in {":", "from"}
        # `density at the styloid, ossicle versus fracture`; `physis wide with swelling, diagnostic of a fracture`
        blocking |= {"other"} if head.hedge is None and not linked else set()
    walls = [
        m.first
        for m in clause.mentions
        if m.kind in blocking or m in [h.mention for h in clause.heads if h is not head]
    ]
    before = [r for r in free if r.first < head.first and not any(r.first < w < head.first for w in walls)]
    after = [r for r in free if r.first > head.mention.last and not any(head.mention.last < w < r.first for w in walls)]
    chosen = before or after
    clause.claimed.update(r.first for r in chosen)
    return chosen


def _has_statement(clause: Clause, region: Mention) -> bool:
    return any(m.kind == "intact" for m in clause.mentions if 0 < m.first - region.last <= 3)
