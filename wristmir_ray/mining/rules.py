"""The `rules` engine: deterministic, section-, negation- and hedge-aware, typing errors mended.

report -> sections -> sentences -> clauses -> statements -> ledger -> findings
"""

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.mining.drafts import Draft
from wristmir_ray.mining.evidence import quote
from wristmir_ray.mining.exam import read_exam
from wristmir_ray.mining.findings import MAX_REPORT_BYTES, Finding, Record
from wristmir_ray.mining.ledger import Ledger
from wristmir_ray.mining.reading import read_statements
from wristmir_ray.mining.sections import BODY, Section, Sentence, split_sections, split_sentences
from wristmir_ray.mining.splitting import split_clauses
from wristmir_ray.mining.terms import Mention, TermTable, load_terms
from wristmir_ray.mining.tokens import Token, tokenise
from wristmir_ray.mining.wording import reword

_WRIST = frozenset({"distal_radius", "distal_ulna", "ulnar_styloid", "radial_styloid", "scaphoid", "carpals"})
_HISTORY = frozenset({"indication", "history", "comparison"})
_HEADER_TOKENS = 8


class RulesEngine:
    """Reads reports by rules alone; the embedded default."""

    name = "rules"

    def __init__(self) -> None:
        self._terms = load_terms()

    def mine(self, report: str) -> Record:
        """Return the record of one report.

        Raises:
            Reject: empty_report, report_too_long, not_a_wrist_report.
        """
        _check_size(report)
        sentences = [
            _Read(report, s, x, self._terms)
            for s in split_sections(report)
            for x in split_sentences(report, s.start, s.end)
        ]
        _spread_side(sentences)
        _check_wrist(sentences)
        ledger = Ledger()
        for sentence in sorted(sentences, key=lambda r: r.section.kind in BODY):
            if sentence.section.kind in BODY or sentence.section.kind in _HISTORY:
                _enter(ledger, sentence)
        exam = read_exam(report, [(r.section.kind, r.tokens, r.mentions) for r in sentences])
        drafts = ledger.close()
        sides = {d.side for d in drafts if d.side}
        single = exam.side if exam.side in {"left", "right"} and len(sides) < 2 else None
        findings = tuple(_finding(report, d, single) for d in drafts)
        return Record.model_construct(**{**exam.fields(), "findings": findings, "evidence": quote(report, exam.spans)})


class _Read:
    """One sentence: its section, tokens and mentions."""

    __slots__ = ("mentions", "section", "sentence", "side", "tokens")

    def __init__(self, report: str, section: Section, sentence: Sentence, terms: TermTable) -> None:
        self.section, self.sentence = section, sentence
        self.tokens = reword(tokenise(report, sentence.start, sentence.end))
        self.mentions = terms.find(self.tokens)
        _label(self.tokens, self.mentions)
        self.side: str | None = None


def _label(tokens: list[Token], mentions: list[Mention]) -> None:
    """Read the dash of `...; ulna - buckle; styloid - nil` as a colon."""
    for m in mentions:
        opens = m.first > 0 and tokens[m.first - 1].text in {";", ",", "/"}
        if m.kind == "region" and opens and m.last + 2 < len(tokens) and tokens[m.last + 1].text == "--":
            dash = tokens[m.last + 1]
            tokens[m.last + 1] = Token(":", dash.start, dash.end)


def _spread_side(sentences: list[_Read]) -> None:
    """Give each sentence the side of the title above it (`Right wrist: ...`)."""
    side: str | None = None
    for read in sentences:
        if read.section.kind == "procedure":
            named = {m.value for m in read.mentions if m.kind == "side"}
            side = named.pop() if named in ({"left"}, {"right"}) else side
        read.side = side


def _check_size(report: str) -> None:
    if not any(c.isalnum() for c in report):
        raise Reject(ErrorCode.EMPTY_REPORT, "the report holds no letter")
    if len(report) > MAX_REPORT_BYTES or len(report.encode(errors="replace")) > MAX_REPORT_BYTES:
        raise Reject(ErrorCode.REPORT_TOO_LONG, f"the report is longer than {MAX_REPORT_BYTES} bytes")


def _check_wrist(sentences: list[_Read]) -> None:
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


def _enter(ledger: Ledger, read: _Read) -> None:
    """Read one sentence into the ledger."""
    ledger.section = read.section.kind
    ledger.side = read.side or ledger.side
    first = _header(ledger, read)
    for clause in split_clauses(read.tokens, read.mentions, first):
        statements = list(read_statements(clause))
        for statement in statements:
            ledger.add(statement, latent=read.section.kind in _HISTORY)
        if not statements and read.section.kind in BODY and (free := clause.free_regions()):
            ledger.settle(free)
    ledger.end_sentence()


def _header(ledger: Ledger, read: _Read) -> int:
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
