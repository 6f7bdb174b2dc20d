"""Cues that look back (`is not seen`, `cannot be excluded`), and bones that a negation spares."""

from collections.abc import Iterable

from wristmir_ray.mining.clauses import PREPOSITIONS, Clause, Head
from wristmir_ray.mining.terms import Mention

_ADVERBS = frozenset({"yet", "now", "currently", "fully", "completely", "any", "significantly", "as"})
_GROUNDS = frozenset(
    {"on", "because", "due", "given", "based", "from", "as", "since", "by", "considering", "judging", "owing", "per"}
    | {"after", "though", "despite", "when", "where", "radiographically", "clinically", "for", "secondary"}
)
"""Words that open the grounds of a doubt."""
_PLACES = frozenset({"in", "at", "with"})
_GOVERNORS = PREPOSITIONS | {"involves", "involve", "affects", "affect", "crosses", "traverses"}


def deny_before(clause: Clause, cue: Mention, negated: dict[int, Mention]) -> None:
    """Deny what stands before a cue: the nearest head and those joined to it by `or`, a noun, else its subject."""
    subject = clause.subject(cue.first) if clause.head_before(cue.first) is None else []
    for m in reversed([x for x in clause.mentions if x.last < cue.first]):
        head = next((h for h in clause.heads if h.mention is m), None)
        if head is not None:
            _deny_coordinated(clause, head, cue)
            return
        if m.kind in {"disp", "heal", "ang"} and not any(a is m for h in clause.heads for a in h.adjectives):
            if m.value != "none":  # `is undisplaced and shows none`
                negated[m.first] = cue
            return
        if m.kind == "other":
            return
    for region in subject:
        negated[region.first] = cue


def _deny_coordinated(clause: Clause, head: Head, cue: Mention) -> None:
    head.neg = head.neg or cue
    at = clause.heads.index(head)
    if at and clause.word(head.first - 1) in {"or", "nor"}:
        _deny_coordinated(clause, clause.heads[at - 1], cue)


def looks_back(clause: Clause, m: Mention, before: Mention | None, ahead: bool, negated: dict[int, Mention]) -> bool:
    """Whether a negation denied what stands before it: a fracture, an attribute, bones."""
    following = clause.word(m.last + 1)
    placed = following in {"in", "at", "of"} and clause.word(m.first) == "neither"
    ends = m.kind == "not" and before is not None and before.kind == "verb" and following in {"", "."}
    if not ahead and (placed or ends) and clause.head_before(m.first) is not None:
        deny_before(clause, m, negated)  # `a fracture is seen neither in the ulna nor ...`
        return True
    if not ahead and m.first == clause.first > 0 and not clause.heads and m.kind == "neg":
        negated.update({r.first: m for r in spared_bones(clause, m)})  # `...; nor of the ulna`
        return bool(negated)
    if before is None:
        return False
    if before.kind == "region" and clause.word(m.first).startswith("neg"):
        if not ahead or following in {"/", ",", ".", ";"}:
            deny_listed(clause, m, before, negated)
            return True
    elif before.kind in {"disp", "ang"} and following in {"", ",", ".", ")"}:
        negated[before.first] = m  # `displ nil`
        return True
    return False


def doubt_before(clause: Clause, cue: Mention) -> None:
    """Make the head before a cue, else the one after it, uncertain."""
    head = clause.head_before(cue.first) or clause.head_after(cue.last)  # `there is suspected fracture`
    if head is not None and head.known and any(m.kind == "ignore" and m.first < head.first for m in clause.mentions):
        return  # `should the fracture displace, surgery may be needed`
    if head is not None and (head.neg is None or head.neg.first > head.mention.first):
        head.hedge = cue
        head.neg = None


def trails(clause: Clause, cue: Mention) -> bool:
    """Whether a hedge right behind a fracture doubts it, though words follow (`suspected on the basis of ...`)."""
    head, before = clause.head_before(cue.first), clause.ending.get(cue.first - 1)
    if head is None or before is None or before not in (head.mention, *head.regions):
        return False
    ahead = next((m for m in clause.mentions if m.first > cue.last and m.kind not in {"known", "side"}), None)
    word, placed = clause.word(cue.last + 1), ahead is not None and ahead.kind == "region"
    return word in _GROUNDS or (word in _PLACES and not (placed and ahead is not None and ahead.first - cue.last <= 3))


def deny_predicate(clause: Clause, head: Head, negated: dict[int, Mention]) -> None:
    """Move a negation from a fracture to what its verb says (`neither fracture is displaced`)."""
    verb = _verb(clause, head)
    if verb is None and "neither" in clause.words(clause.first, head.first + 1):
        verb = next((m for m in clause.mentions if m.first > head.mention.last and m.kind == "verb"), None)
    if head.neg is None or head.neg.first > head.mention.first or verb is None:
        return
    said = next((m for m in clause.mentions if m.first > verb.last and m.kind not in {"copula", "degree"}), None)
    if said is None or said.kind not in {"disp", "heal", "ang"} or said.first - verb.last > 3:
        return
    covered = {i for m in clause.mentions for i in range(m.first, m.last + 1)}
    between = [clause.word(i) for i in range(verb.last + 1, said.first) if i not in covered]
    if set(between) <= _ADVERBS:
        negated[said.first] = head.neg
        head.neg, head.known = None, True


def _verb(clause: Clause, head: Head) -> Mention | None:
    """Return the verb of a noun phrase, which may name bones after its head (`of the radius and ulna`)."""
    for m in clause.mentions:
        if m.first > head.mention.last:
            if m.kind == "verb":
                return m
            if m.kind not in {"known", "region", "side", "both"}:
                return None
    return None


def spared_bones(clause: Clause, cue: Mention) -> list[Mention]:
    """Return the bones after `but not`, `sparing`, unless they only say which fracture is meant."""
    region = next((m for m in clause.mentions if m.first > cue.last and m.kind not in {"known", "side"}), None)
    if region is None or region.kind != "region" or region.first - cue.last > 4:
        return []
    if any(h.first <= region.first < h.mention.first for h in clause.heads):
        return []
    return [region, *(m for m in clause.coordinated(region, 1) if m.kind == "region")]


def spare(clause: Clause, cue: Mention, negated: dict[int, Mention]) -> None:
    """Deny the bones after `but not`, `sparing`."""
    _deny_bones(clause, spared_bones(clause, cue), cue, negated)


def deny_neither(clause: Clause, cue: Mention, negated: dict[int, Mention]) -> bool:
    """Read `a fracture of neither the radius nor the ulna`: there is none; one that is known spares both."""
    head = clause.head_before(cue.first)
    if head is None or clause.word(cue.first) != "neither" or clause.word(cue.first - 1) not in _GOVERNORS:
        return False
    after = [r for r in head.regions if r.first > cue.last]
    if head.known or any(r.last < cue.first for r in head.regions):
        _deny_bones(clause, after, cue, negated)
    elif after or clause.word(cue.last + 1) in {"bone", "of"}:
        head.neg = cue
    return bool(after) or head.neg is cue


def deny_listed(clause: Clause, cue: Mention, region: Mention, negated: dict[int, Mention]) -> None:
    """Deny the bones before `neg`: `radius fx, ulna/ulnar styloid neg`."""
    bones = [region]
    for other in clause.coordinated(region, -1):
        listed = clause.word(bones[-1].first - 1) == "," and other.kind == "region"
        if listed and (clause.owned(other, direct=True) or clause.heads):
            break
        bones.append(other)
    _deny_bones(clause, bones, cue, negated)


def _deny_bones(clause: Clause, bones: Iterable[Mention], cue: Mention, negated: dict[int, Mention]) -> None:
    for bone in bones:
        negated[bone.first] = cue
        for head in clause.heads:
            head.regions = [x for x in head.regions if x is not bone]
