"""Where a model's quote stands in the report: letter for letter, else but for case and white space; never fuzzy."""

from wristmir_ray.mining.findings import MAX_QUOTE
from wristmir_ray.mining.instructions import without_instructions
from wristmir_ray.mining.sections import BODY, split_sections

ANYWHERE = "body"
"""The section of text that stands outside every section (a heading, say)."""
_HIDDEN = "\0"
"""Stands for each character of an instruction: no white space, so that no quote reaches across one."""


class Locator:
    """Finds quotes in one report; what speaks to its reader holds none.

    Args:
        report: its text.
    """

    def __init__(self, report: str) -> None:
        self._original = report
        seen = without_instructions(report)
        self._report = report if seen == report else without_instructions(report, _HIDDEN)
        self._sections = split_sections(seen)
        self._plain, self._offsets = _folded(self._report)

    def find(self, quote: str) -> tuple[int, int] | None:
        """Return the characters [start, end) that a quote stands for, or None where it does not stand.

        The exact wording wins over one that differs in case or white space, a findings section over a
        history, the earlier over the later. A quote never begins or ends inside a word: `ulna` does
        not stand in `ulnar`; nor does it stand where its white space makes it longer than MAX_QUOTE.
        """
        quote = quote.strip()
        exact = [(i, i + len(quote)) for i in _occurrences(self._report, quote)]
        return self._best(exact) or self._best(self._alike(quote))

    def text(self, start: int, end: int) -> str:
        """Return the report's own characters [start, end)."""
        return self._original[start:end]

    def section(self, start: int) -> str:
        """Return the kind of section that a character stands in."""
        return next((s.kind for s in self._sections if s.start <= start < s.end), ANYWHERE)

    def _alike(self, quote: str) -> list[tuple[int, int]]:
        plain = _folded(quote)[0].strip()
        found = _occurrences(self._plain, plain) if plain else []
        return [(self._offsets[i], self._offsets[i + len(plain) - 1] + 1) for i in found]

    def _best(self, spans: list[tuple[int, int]]) -> tuple[int, int] | None:
        whole = [s for s in spans if self._is_whole(*s)]
        return min(whole, key=lambda s: (self.section(s[0]) not in BODY, s), default=None)

    def _is_whole(self, start: int, end: int) -> bool:
        text = self._report
        before = start > 0 and text[start - 1].isalnum() and text[start].isalnum()
        after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
        return 0 < end - start <= MAX_QUOTE and not before and not after


def _occurrences(text: str, part: str) -> list[int]:
    found, at = [], text.find(part) if part else -1
    while at >= 0:
        found.append(at)
        at = text.find(part, at + 1)
    return found


def _folded(text: str) -> tuple[str, list[int]]:
    """Return the text in lower case with single spaces, and where each of its characters came from."""
    out: list[str] = []
    offsets: list[int] = []
    for i, c in enumerate(text):
        folded = " " if c.isspace() else c.casefold()
        if folded == " " and out and out[-1] == " ":
            continue
        out.append(folded if len(folded) == 1 else c)  # one for one: a span never cuts a character in two
        offsets.append(i)
    return "".join(out), offsets
