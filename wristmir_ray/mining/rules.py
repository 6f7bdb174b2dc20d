"""The `rules` engine: deterministic, section-, negation- and hedge-aware, typing errors mended.

report -> sections -> sentences -> clauses -> statements -> ledger -> findings
"""

from collections.abc import Iterator
from dataclasses import replace

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.drafts import Draft
from wristmir_ray.mining.evidence import quote
from wristmir_ray.mining.exam import read_exam
from wristmir_ray.mining.findings import MAX_REPORT_BYTES, Finding, Record
from wristmir_ray.mining.hearsay import is_hearsay, part_asides
from wristmir_ray.mining.instructions import without_instructions
from wristmir_ray.mining.language import is_english
from wristmir_ray.mining.ledger import Ledger
from wristmir_ray.mining.opinions import outdate, set_apart
from wristmir_ray.mining.otherside import name_other_side
from wristmir_ray.mining.reading import read_statements
from wristmir_ray.mining.sections import BODY, Section, Sentence, split_sections, split_sentences
from wristmir_ray.mining.splitting import split_clauses
from wristmir_ray.mining.statements import Statement
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token, tokenise
from wristmir_ray.mining.vocabulary import load_terms
from wristmir_ray.mining.wording import reword

_WRIST = frozenset({"distal_radius", "distal_ulna", "ulnar_styloid", "radial_styloid", "scaphoid", "carpals"})
_HISTORY = frozenset({"indication", "history", "comparison"})
_CORRECTS = frozenset({"correction", "erratum", "corrected", "amendment", "amended"})
_HEADER_TOKENS = 8
_TITLE_TOKENS = 6


class RulesEngine:
    """Reads reports by rules alone; the embedded default."""

    name = "rules"

    def mine(self, report: str) -> Record:
        """Return the record of one report.

        Raises:
            Reject: empty_report, report_too_long, not_english, not_a_wrist_report.
        """
        _check_size(report)
        if not is_english(report):
            raise Reject(ErrorCode.NOT_ENGLISH, "the report is not in English, the one language that is read")
        sentences = read_sentences(report)
        _read_title(sentences)
        _spread_side(sentences)
        _check_wrist(sentences)
        drafts = _drafts(sentences) or _drafts(sentences, hearsay=False)
        exam = read_exam([(r.section.kind, r.tokens, r.mentions) for r in sentences])
        sides = {d.side for d in drafts if d.side}
        single = exam.side if exam.side in {"left", "right"} and len(sides) < 2 else None
        findings = tuple(_finding(report, d, single) for d in drafts)
        return Record.model_construct(**{**exam.fields(), "findings": findings, "evidence": quote(report, exam.spans)})


class Read:
    """One sentence, or an aside of it that tells another's claim: its section, tokens and mentions."""

    __slots__ = ("aside", "mentions", "section", "sentence", "side", "tokens")

    def __init__(self, section: Section, sentence: Sentence, tokens: list[Token], aside: bool) -> None:
        self.section, self.sentence, self.tokens, self.aside = section, sentence, tokens, aside
        self.mentions = load_terms().find(self.tokens)
        _label(self.tokens, self.mentions)
        self.side: str | None = None


def read_sentences(report: str) -> list[Read]:
    """Return the sentences of a report in reading order, without those that speak to its reader."""
    text = without_instructions(report)
    return [
        Read(section, sentence, tokens, aside)
        for section in split_sections(text)
        for sentence in split_sentences(text, section.start, section.end)
        for tokens, aside in part_asides(reword(tokenise(text, sentence.start, sentence.end)))
    ]


def read_clauses(ledger: Ledger, read: Read, hearsay: bool = True) -> Iterator[tuple[Clause, list[Statement]]]:
    """Yield the clauses of a sentence, each with its statements; the list header it opens with goes to the ledger.

    Args:
        ledger: what the report has said so far.
        read: the sentence.
        hearsay: whether what looks like another's claim is one.
    """
    for clause in split_clauses(read.tokens, read.mentions, _header(ledger, read)):
        statements = list(read_statements(clause))
        if hearsay and (read.aside or is_hearsay(clause)):
            statements = [replace(s, latent=True) for s in statements]
        if read.section.kind == "addendum" or read.tokens[0].text in _CORRECTS:
            statements = [replace(s, corrects=True) for s in statements]
        statements = outdate(clause, statements) if hearsay else statements
        yield clause, set_apart(clause, statements)


def _label(tokens: list[Token], mentions: list[Mention]) -> None:
    """Read the dash of `...; ulna - buckle; styloid - nil` as a colon."""
    for m in mentions:
        opens = m.first > 0 and tokens[m.first - 1].text in {";", ",", "/"}
        if m.kind == "region" and opens and m.last + 2 < len(tokens) and tokens[m.last + 1].text == "--":
            dash = tokens[m.last + 1]
            tokens[m.last + 1] = Token(":", dash.start, dash.end)


def _read_title(sentences: list[Read]) -> None:
    """Make an opening line that names the side and no more (`Left wrist.`) the report's title."""
    if not sentences or sentences[0].section.kind != "body":
        return
    first = sentences[0]
    kinds = {m.kind for m in first.mentions}
    if len(first.tokens) <= _TITLE_TOKENS and "side" in kinds and kinds <= {"side", "all", "part", "view"}:
        first.section = replace(first.section, kind="procedure")


def _spread_side(sentences: list[Read]) -> None:
    """Give each sentence the side of the title above it (`Right wrist: ...`)."""
    side: str | None = None
    for read in sentences:
        if read.section.kind == "procedure":
            named = {m.value for m in read.mentions if m.kind == "side"}
            side = named.pop() if named in ({"left"}, {"right"}) else side
        read.side = side
        read.mentions = name_other_side(read.tokens, read.mentions, side)


def _check_size(report: str) -> None:
    if not any(c.isalnum() for c in report):
        raise Reject(ErrorCode.EMPTY_REPORT, "the report holds no letter")
    if len(report) > MAX_REPORT_BYTES or len(report.encode(errors="replace")) > MAX_REPORT_BYTES:
        raise Reject(ErrorCode.REPORT_TOO_LONG, f"the report is longer than {MAX_REPORT_BYTES} bytes")


def _check_wrist(sentences: list[Read]) -> None:
    """Refuse a report that speaks of another body part and of no wrist, or of no bone at all."""
    kinds = {m.kind for r in sentences for m in r.mentions}
    values = {v for r in sentences for m in r.mentions if m.kind in {"region", "combo"} for v in m.value.split("+")}
    words = {t.text for r in sentences for t in r.tokens}
    own = {t.text for r in sentences if r.section.kind not in _HISTORY for t in r.tokens}
    named = bool(words & {"wrist", "wrists", "forearm", "forearms", "carpus", "carpal", "druj"})
    titles = {
        m.value for r in sentences if r.section.kind == "procedure" for m in r.mentions if m.kind in {"part", "region"}
    }
    elsewhere = "part" in kinds or bool(own & {"elbow", "humerus", "supracondylar", "hand", "finger", "olecranon"})
    if named or (values & _WRIST and not titles & {"other"}):
        return
    if elsewhere or not kinds & {"fx", "deny", "combo", "intact", "type", "all"}:
        raise Reject(ErrorCode.NOT_A_WRIST_REPORT, "the report names no bone of the wrist")


def _drafts(sentences: list[Read], hearsay: bool = True) -> list[Draft]:
    """Return the findings in the making. What tells nothing but hearsay tells it of itself: `hearsay` False."""
    ledger = Ledger()
    waiting: list[tuple[str, Statement]] = []
    for read in sorted(sentences, key=lambda r: r.section.kind in BODY):
        if read.section.kind in BODY or read.section.kind in _HISTORY:
            waiting += [(read.section.kind, s) for s in _enter(ledger, read, hearsay) if s.shared]
    for ledger.section, statement in waiting:  # `post-reduction views show good alignment`, above the fractures
        ledger.header = []
        ledger.add(statement, latent=False)
    return ledger.close()


def _enter(ledger: Ledger, read: Read, hearsay: bool) -> list[Statement]:
    """Read one sentence into the ledger; return what it says of fractures that no sentence has named so far."""
    ledger.section = read.section.kind
    ledger.side = read.side or ledger.side
    latent = read.section.kind in _HISTORY
    held: list[Statement] = []  # `mild displacement but good callus at the fracture of the radius`
    for clause, statements in read_clauses(ledger, read, hearsay):
        for statement in statements:
            if _is_unbound(ledger, statement):
                held.append(statement)
                continue
            ledger.add(statement, latent)
            if statement.kind == "fracture" and statement.regions:
                held = _add_all(ledger, held, latent)
        if not statements and read.section.kind in BODY and (free := clause.free_regions()):
            ledger.settle(free)
    _add_all(ledger, held, latent)
    ledger.end_sentence()
    return [] if latent else held


def _is_unbound(ledger: Ledger, s: Statement) -> bool:
    """Whether a statement says something of a fracture that no statement has named so far."""
    return not (ledger.drafts or s.regions or ledger.header) and (s.kind == "attribute" or s.head == "part")


def _add_all(ledger: Ledger, statements: list[Statement], latent: bool) -> list[Statement]:
    """Enter statements that waited for the fracture they are about; return what still waits: none."""
    for statement in statements:
        ledger.add(statement, latent)
    return []


def _header(ledger: Ledger, read: Read) -> int:
    """Set the list header a sentence stands under; return the token its own text starts at.

    `Distal radius: ...` names its bones, `Right wrist:` the side. The header holds for the rest of
    its line, and for the list below when it stands alone.
    """
    at = next((i for i, t in enumerate(read.tokens[:_HEADER_TOKENS]) if t.text in {":", "--"}), None)
    lead = [m for m in read.mentions if at is not None and m.first < at]
    if at is None or not lead or any(m.kind not in {"region", "side", "all", "known", "extra"} for m in lead):
        ledger.header_open = not ledger.header_filled
        if read.sentence.line_start and (ledger.header_filled or at is not None):
            ledger.header = []
        return 0
    if read.tokens[at].text == "--" and not any(m.kind == "region" for m in lead):
        return 0
    ledger.header = [m for m in lead if m.kind == "region"]
    ledger.header_filled, ledger.header_open = at + 1 < len(read.tokens), True
    sides = {m.value for m in lead if m.kind == "side"} - {"bilateral"}
    if len(sides) == 1:
        ledger.side = sides.pop()
    return at + 1


def _finding(report: str, draft: Draft, side: str | None) -> Finding:
    values = {name: v.value for name, v in draft.values.items()}
    evidence = quote(report, draft.evidence)
    return Finding.model_validate(
        {"region": draft.place, "side": draft.side or side, "presence": draft.presence, **values, "evidence": evidence}
    )


def mine(text: str) -> Record:
    """Return the record of one report: `mine("Buckle fracture of the distal radius.").findings`."""
    return RulesEngine().mine(text)
