"""What a clause makes of a head beyond there or not: asked, told as one more, said not to be, explained away."""

from wristmir_ray.mining.clauses import BE, Clause, Head

_ALL_KINDS = frozenset({"even", "complete", "any", "otherwise", "else", "other"})
"""Words by which a denial of one type is one of all: `not even a hairline fracture`, `complete or incomplete`."""
_ASKS = frozenset({"?", "query", "rule", "r/o", "exclude", "evaluate", "evaluation", "eval"})


def contrasts(clause: Clause, head: Head) -> bool:
    """Whether a denial only says what the fracture before it is not (`a greenstick rather than a buckle fracture`)."""
    cue = head.neg
    before = clause.head_before(cue.first) if cue is not None and cue.kind in {"not", "spare"} else None
    return before is not None and before.neg is None and any(a.kind == "type" for a in head.adjectives)


def of_one_kind(clause: Clause, head: Head) -> bool:
    """Whether what is denied is one type of fracture (`no buckle fracture`), which leaves all others open.

    `No displaced fracture` is said, and read, of all: a displacement is no type.
    """
    all_kinds = not _ALL_KINDS.isdisjoint(clause.words(max(clause.first, head.first - 3), head.mention.last + 3))
    return any(a.kind == "type" for a in head.adjectives) and not (head.other or all_kinds)


def further(clause: Clause, head: Head) -> bool:
    """Whether a fracture is told as one more (`a further fracture`)."""
    return head.neg is None and "further" in clause.words(max(clause.first, head.first - 2), head.mention.first)


def asks(clause: Clause, head: Head) -> bool:
    """Whether a question names the fracture (`? fracture`, `rule out fracture`), not `follow-up of a fracture`."""
    cues = [m for m in clause.mentions if m.kind == "ignore" and m.last < head.mention.first]
    cues += [head.hedge] if head.hedge is not None else []
    return any(_ASKS & set(clause.words(c.first, c.last + 1)) for c in cues)


def explained(clause: Clause, head: Head) -> bool:
    """Whether a sign is said to be something else (`the lucency is typical of a nutrient channel`)."""
    if _is_normal(clause, head):
        return True
    if head.kind not in {"weak", "lucency"}:
        return False
    link = next((m for m in clause.mentions if m.kind == "link" and m.first > head.mention.last), None)
    if link is None or clause.head_after(link.last) is not None:
        return False
    said = next((m for m in clause.mentions if m.first > link.last and m.kind not in {"known", "side"}), None)
    return said is not None and said.kind == "other"


def _is_normal(clause: Clause, head: Head) -> bool:
    """Whether a head is said to be, or is, something normal (`the apparent buckle is a normal irregularity`)."""
    own = clause.ending.get(head.mention.first - 1) or clause.ending.get(head.mention.first - 2)
    if head.kind == "weak" and own is not None and own.kind == "intact":
        return True
    verb = clause.starting.get(head.mention.last + 1)
    if verb is None or verb.kind != "verb" or clause.word(verb.last) not in BE:
        return False
    at = verb.last + (2 if clause.word(verb.last + 1) in {"a", "an", "the"} else 1)
    said = clause.starting.get(at)
    return said is not None and said.kind == "intact" and clause.word(said.last + 1).isalpha()
