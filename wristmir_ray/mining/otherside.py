"""The wrist that a report is not about: `the contralateral wrist, imaged on the same day, shows a torus fracture`."""

from collections.abc import Sequence

from wristmir_ray.mining.terms import Mention, Term
from wristmir_ray.mining.tokens import Token

_OTHER = frozenset({"contralateral", "opposite", "other"})
_LIMB = frozenset({"wrist", "side", "forearm", "hand", "arm"})
_OPENS = frozenset({"", ".", ":", ",", ";", "--", "and", "but", "whereas", "while", "that", "imaged"})
"""Words before a noun phrase that is a subject or a place, no term of comparison (`wider than the other side`)."""
_OPPOSITE = {"left": "right", "right": "left"}


def name_other_side(tokens: Sequence[Token], mentions: list[Mention], side: str | None) -> list[Mention]:
    """Return the mentions of a sentence, the other wrist named by its side where that of the report is known."""
    if side is None:
        return mentions
    words = ["", *(t.text for t in tokens), "", ""]  # words[i + 1] is token i
    out = list(mentions)
    for i, token in enumerate(tokens):
        at = i - 1 - (words[max(0, i - 1)] in {"in", "on"})  # `on the other side there is ...`
        opens = words[i] in {"the", "his", "her"} and words[max(0, at)] in _OPENS
        if token.text not in _OTHER or words[i + 2] not in _LIMB or not opens:
            continue
        if any(m.kind == "ignore" and m.first <= i <= m.last for m in out):
            continue
        named = Mention(Term("side", _OPPOSITE[side], "", ""), i, i, token.start, token.end)
        out = sorted([*(m for m in out if m.first != i), named], key=lambda m: m.first)
    return out
