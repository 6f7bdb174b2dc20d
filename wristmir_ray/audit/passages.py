"""A report read once, so that any quote of it can be asked what it says."""

from dataclasses import dataclass

from wristmir_ray.mining.reading import read_statements
from wristmir_ray.mining.sections import split_sections, split_sentences
from wristmir_ray.mining.splitting import split_clauses
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention, load_terms
from wristmir_ray.mining.tokens import Token, tokenise

NOWHERE = "body"
"""The section of text that stands outside every section (a heading, say)."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters [start, end) of a report: their section, words, terms, and the statements they touch."""

    section: str
    words: tuple[str, ...]
    mentions: tuple[Mention, ...]
    statements: tuple[Statement, ...]


class Passages:
    """One report.

    A quote is read where it stands: `styloid` out of `radial styloid` is a radial styloid.

    Args:
        report: its text.
    """

    def __init__(self, report: str) -> None:
        self.report = report
        self._sections = split_sections(report)
        self._tokens: list[Token] = []
        self.mentions: list[Mention] = []
        self._statements: list[Statement] = []
        for section in self._sections:
            for sentence in split_sentences(report, section.start, section.end):
                self._read(tokenise(report, sentence.start, sentence.end))

    def _read(self, tokens: list[Token]) -> None:
        mentions = load_terms().find(tokens)
        self._tokens += tokens
        self.mentions += mentions
        for clause in split_clauses(tokens, mentions):
            self._statements += read_statements(clause)

    def at(self, start: int, end: int) -> Passage:
        """Return what stands at the characters [start, end)."""
        return Passage(
            self.section(start),
            tuple(t.text for t in self._tokens if t.start < end and t.end > start),
            tuple(m for m in self.mentions if m.start < end and m.end > start),
            tuple(s for s in self._statements if s.start < end and s.end > start),
        )

    def section(self, start: int) -> str:
        """Return the kind of section that a character stands in."""
        return next((s.kind for s in self._sections if s.start <= start < s.end), NOWHERE)

    def sides(self) -> frozenset[str]:
        """Return the sides that the report names anywhere."""
        named = {m.value for m in self.mentions if m.kind == "side"}
        return frozenset({"left", "right", "bilateral"} if "bilateral" in named else named)
