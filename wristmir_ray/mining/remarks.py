"""What a report remarks beside fractures: how far ossification has come, and a closed list of other findings.

They are found by a term table of their own (`remarks.csv`); whether they are stated, denied or doubted is
read from the cues of the fracture's grammar around them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token
from wristmir_ray.mining.vocabulary import load_remarks

_ENDS = frozenset({"with", "but", "however", ";", ":", "there", "despite", "although", "whereas", "now"})
_LISTS = frozenset({"or", "nor"})
_FRESH = frozenset(
    [
        "a",
        "an",
        "the",
        "mild",
        "moderate",
        "marked",
        "minimal",
        "slight",
        "small",
        "large",
        "diffuse",
        "subtle",
        "severe",
        "trace",
        "significant",
        "considerable",
        "extensive",
        "associated",
        "adjacent",
        "dorsal",
        "volar",
    ]
)
"""Words that open a statement after a comma or an `and`: `no fracture, mild swelling`."""
_GONE = frozenset(["resolved", "resolution", "resolving", "settled", "subsided", "removed", "removal", "discontinued"])
_EARLIER = frozenset({"prior", "pastverb"})
_AGAIN = frozenset({"there", "now", "new", "persistent", "persists", "today", "currently", "current", "interval"})
_STATES = frozenset({"is", "are", "noted", "present", "seen", "over", "along", "about", "overlying", "dorsally"})


class Standing(StrEnum):
    """What a sentence does to something it names."""

    STATED = "stated"
    DENIED = "denied"
    DOUBTED = "doubted"
    """Possible, planned, or another time's."""


@dataclass(frozen=True, slots=True)
class Remark:
    """A mention of `remarks.csv` (kind `ossification` or `other`), and how it stands."""

    mention: Mention
    standing: Standing

    @property
    def stated(self) -> bool:
        return self.standing is Standing.STATED


def read_remarks(tokens: Sequence[Token], mentions: Sequence[Mention]) -> Iterator[Remark]:
    """Yield the remarks of one sentence.

    Args:
        tokens: its words.
        mentions: what the term table of fractures finds in them; its cues count here.
    """
    for m in load_remarks().find(tokens):
        if m.kind != "mask":
            yield Remark(m, standing(tokens, mentions, m))


def standing(tokens: Sequence[Token], mentions: Sequence[Mention], m: Mention) -> Standing:
    """Return whether a sentence states what `m` names, denies it, or leaves it open."""
    before = [c for c in mentions if c.last < m.first]
    after = [c for c in mentions if c.first > m.last and c.first - m.last <= 5]
    if any(_denies(tokens, mentions, c, m) for c in before if c.kind in {"neg", "not"}) or _denied_after(
        tokens, after, m
    ):
        return Standing.DENIED
    if any(t.text in _GONE for t in tokens[max(0, m.first - 4) : m.last + 6]):
        return Standing.DENIED
    hedged = any(c.kind in {"hedge", "modal"} and m.first - c.last <= 4 for c in before)
    hedged |= any(c.kind in {"hedge", "hedgepost"} and not _between(tokens, m.last, c.first, {",", ";"}) for c in after)
    planned = any(c.kind == "ignore" for c in before)
    earlier = [c for c in before if c.kind in _EARLIER]
    then = bool(earlier) and not _between(tokens, earlier[-1].last, m.first, _AGAIN)
    return Standing.DOUBTED if hedged or planned or then else Standing.STATED


def _between(tokens: Sequence[Token], first: int, last: int, words: frozenset[str] | set[str]) -> bool:
    """Whether one of the words stands after token `first` and before token `last`."""
    return any(t.text in words for t in tokens[first + 1 : last])


def _denies(tokens: Sequence[Token], mentions: Sequence[Mention], cue: Mention, m: Mention) -> bool:
    """Whether a negation before a mention reaches it: through lists, up to what starts something new."""
    if _between(tokens, cue.last, m.first, _ENDS) or any(
        c.kind == "break" and cue.last < c.first < m.first for c in mentions
    ):
        return False
    if cue.kind == "not" and m.first - cue.last > 6:
        return False
    joins = [i for i in range(cue.last + 1, m.first) if tokens[i].text in {",", "and", "&", "+"}]
    if not joins or _between(tokens, cue.last, m.first, _LISTS):
        return True
    listed = any(t.text in _LISTS for t in tokens[m.last + 1 : m.last + 12])
    fresh = any(t.text in _FRESH for t in tokens[joins[-1] + 1 : m.first])
    states = any(t.text in _STATES for t in tokens[m.last + 1 : m.last + 3])
    return listed or not (fresh or states)


def _denied_after(tokens: Sequence[Token], after: Sequence[Mention], m: Mention) -> bool:
    """Whether a negation behind a mention denies it: `swelling is not seen`, `effusion: none`."""
    for c in after:
        if c.kind not in {"negpost", "neg"} or _between(tokens, m.last, c.first, {",", ";", "and", "but", "with"}):
            continue
        if c.kind == "negpost" or _between(tokens, m.last, c.first, {":", "--", "="}) or c.last + 1 >= len(tokens) - 1:
            return True
    return False
