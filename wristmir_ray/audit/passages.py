"""A report read once, so that any quote of it can be asked what it says."""

from collections.abc import Iterable
from dataclasses import dataclass

from wristmir_ray.mining.ellipsis import echoed
from wristmir_ray.mining.grounding import Locator
from wristmir_ray.mining.ledger import Ledger
from wristmir_ray.mining.remarks import Remark, read_remarks
from wristmir_ray.mining.rules import read_clauses, read_sentences
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters [start, end) of a report: their section, words, terms and remarks, and the statements they touch."""

    section: str
    words: tuple[str, ...]
    mentions: tuple[Mention, ...]
    statements: tuple[Statement, ...]
    remarks: tuple[Remark, ...] = ()


class Passages:
    """One report.

    A quote is read where it stands, as the `rules` read it there: `styloid` out of `radial styloid` is
    a radial styloid, `DRF` a fracture of the distal radius. `locator` finds quotes in the report, and their sections.

    Args:
        report: its text.
    """

    def __init__(self, report: str) -> None:
        self.report = report
        self.locator = Locator(report)
        self._tokens: list[Token] = []
        self.mentions: list[Mention] = []
        self._statements: list[Statement] = []
        self._remarks: list[Remark] = []
        self._said: Statement | None = None
        headers = Ledger()  # only follows the list headers: nothing is entered
        for sentence in read_sentences(report):
            self._tokens += sentence.tokens
            self.mentions += sentence.mentions
            self._remarks += read_remarks(sentence.tokens, sentence.mentions)
            for _, statements in read_clauses(headers, sentence):
                self._hear(statements)

    def _hear(self, statements: Iterable[Statement]) -> None:
        """Take statements; an echo (`but the ulna is not`) says what it makes of the one before, if anything."""
        for statement in statements:
            told = echoed(self._said, statement) if statement.kind == "echo" else statement
            if told is not None:
                self._statements.append(told)
            if statement.kind not in {"echo", "doubt", "answer"}:
                self._said = statement

    def at(self, start: int, end: int) -> Passage:
        """Return what stands at the characters [start, end)."""
        return Passage(
            self.locator.section(start),
            tuple(t.text for t in self._tokens if t.start < end and t.end > start),
            tuple(m for m in self.mentions if m.start < end and m.end > start),
            tuple(s for s in self._statements if s.start < end and s.end > start),
            tuple(r for r in self._remarks if r.mention.start < end and r.mention.end > start),
        )

    def sides(self) -> frozenset[str]:
        """Return the sides that the report names anywhere."""
        named = {m.value for m in self.mentions if m.kind == "side"}
        return frozenset({"left", "right", "bilateral"} if "bilateral" in named else named)
