"""Words of a report with their character offsets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(
    r"(?:w/o|r/o|s/p|h/o|f/u|b/l)(?![^\W\d_])|\d+(?:\.\d+)?(?:st|nd|rd|th)?(?![^\W\d_])|[^\W\d_]+(?:['’](?:t|s)(?![^\W\d_]))?"
    r"|\d+(?:\.\d+)?|##|[^\w\s]|_"
)
_SILENT = frozenset("[]{}*'\"’‘“”")
"""Marks that templates and quotations put around words."""
_HYPHENS = {"-", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2212"}


_BONES = frozenset({"DR", "DRS", "DRF", "DU", "DUF", "US", "USP", "USF", "USPF"})
"""Abbreviations that name a bone in capitals alone: `Dr` is a title, `us` a pronoun."""
_DOTTED = frozenset(
    {"min", "mod", "displ", "nondispl", "undispl", "dist", "transv", "obl", "incompl", "comm", "avuls"}
    | {"sev", "approx", "poss", "prob", "susp", "equiv"}
)
"""Words that are cut short by a dot, which then ends no sentence unless a capital follows."""
_TITLED = frozenset(
    {"with", "by", "to", "from", "on", "via", "per", "attending", "physician", "let", "contact", "call"}
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number or mark; [start, end) its place in the report; `text` is lower case but for bones (`DR`)."""

    text: str
    start: int
    end: int


def tokenise(text: str, start: int, end: int) -> list[Token]:
    """Return the tokens of `text[start:end]`.

    A hyphen inside a word is a blank (`Salter-Harris` = `salter harris`); one with a blank on a
    side is a dash and becomes the mark `--`. Offsets are those of `text` itself.
    """
    out: list[Token] = []
    for m in _WORD.finditer(text, start, end):
        word = m.group()
        a, b = m.span()
        if word == "." and out and out[-1].text in _DOTTED and b < end:
            continue
        if word in _SILENT or not word.isprintable():
            continue
        if word in _HYPHENS:
            blank = a == start or b == end or text[a - 1].isspace() or text[b].isspace()
            if blank or word == "\u2014":
                out.append(Token("--", a, b))
            continue
        out.append(Token(word if _is_bone(word, out) else word.lower().replace("’", "'"), a, b))
    return out


def _is_bone(word: str, before: Sequence[Token]) -> bool:
    """Whether a word abbreviates a bone (`fx DR`), rather than `doctor` or `ultrasound` (`on US`)."""
    return word in _BONES and not (before and before[-1].text in _TITLED)
