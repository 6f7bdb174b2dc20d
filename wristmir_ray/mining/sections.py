"""A report's sections and sentences, as character ranges.

Only *body* sections (findings, impression, addendum, text without a heading) make findings. What
the indication, the history, the comparison or the technique says is another time's or another
person's claim.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wristmir_ray.mining.vocabulary import expand, read_rows

BODY = frozenset({"findings", "impression", "addendum", "body"})
_SHUT = BODY | {"recommendation"}


def _headings() -> str:
    """Return the pattern of all headings, one named group a kind of section, from `headings.csv`."""
    groups = []
    for row in read_rows("headings.csv"):
        wordings = {w for p in row["phrases"].split(";") for w in expand(p.strip())}
        longest = sorted(wordings, key=lambda w: (-len(w), w))
        groups.append(f"(?P<{row['kind']}>{'|'.join(re.escape(w) for w in longest)})")
    return "|".join(groups)


_HEADING = re.compile(
    r"(?:(?<=\n)|\A|(?<=[.;!?\]|]\s)|(?<=[.;!?]\s\s)|(?<=//\s)|(?<=//))[ \t>*#_]*(?:" + _headings() + r")"
    r"[ \t*_]*(?:\([^()\n]{0,40}\)|[ \t]*(?:right|left|bilateral)?[ \t]*)"
    r"(?::+|[ \t]+[-\u2013\u2014]+(?=[ \t\n])|[ \t]*(?=\r?\n))",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"(?:(?<=\n)|\A|(?<=[.;!?]\s))[ \t>*#_]*(?P<title>(?:[^\n.:;]{0,40}\b)?"
    r"(?:x-?\s?rays?|xr|cr|dx|radiographs?|radiography|plain films?|films?|series|views?"
    r"|mri|mr|ct|cbct|ultrasound|scan)\b[^\n.:;]{0,60}"
    r"|(?:left|right|l|r|bilateral|both)\b[^\n.:;]{0,12}\b(?:wrists?|forearms?)\b[^\n.:;]{0,60}?(?=:))"
    r"(?::|\.?[ \t]*(?=\n)|\.(?=[ \t]))",
    re.IGNORECASE,
)
_EARLY, _LATE = re.compile(r"wet|prelim|initial", re.IGNORECASE), re.compile(r"final|attending", re.IGNORECASE)
_AGREES = re.compile(r"\W*(?:i |we )?(?:agree|concur|confirm)", re.IGNORECASE)
_DETAILS = re.compile(r"[\W_]*(?:details?|notes?|information|info|data|background)[\W_]*", re.IGNORECASE)
_UNKNOWN = re.compile(r"(?:(?<=\n)|\A)[ \t>*#_]*(?P<label>[A-Za-z][A-Za-z&/' -]{0,30}?)[ \t*_]*:(?=[ \t*\n])")
_BONE_LABEL = re.compile(
    r"radi(?:us|al)|uln|styloid|scaphoid|carp|wrist|forearm|bone|joint|soft|side|left|right|view|age|sex|name|date|time|pain"
    r"|swell|tender|hand|dominan|refer|physician|doctor|mrn|dob|since|allerg|weight|height",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"fract|drf|displ|s/p|position|\bf?fx|#|normal|unremark|negative|\bno\b|intact|show|demonstr|reveal|confirm|compar|prior|previous|which|recommend"
    r"|repeat|follow(?!-up\s*$)|obtained|suggest|healing|\bthere\b|may be|lucen|cort|\bseen|\bonly\b"
    r"|on (?:one|the)|visib",
    re.IGNORECASE,
)
"""A line with one of these words is no title, though it speaks of radiographs."""
_RESULT = re.compile(r"fractures?\b|\bfx\b|intact|normal|unremarkable", re.IGNORECASE)
_BLANK_LINE = re.compile(r"\n[ \t\r]*\n")
_STOP = re.compile(r"[.!?]+[\"')\]]*(?=\s|$)|\.(?=[A-Z][a-z])|\n|(?<=\S)(?=\s\(?[1-9]\)\s)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:(?-i:[Dd]r)|mr|mrs|ms|approx|vs|e\.g|i\.e|eg|ie|cf|resp|fig|incl|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|[a-z])|\A\s*\(?\d{1,2})$",
    re.IGNORECASE,
)
_CUT_SHORT = re.compile(
    r"\b(?:min|mod|(?:non|un)?displ|dist|transv|obl|incompl|comm|sev|poss|prob|susp|equiv)$", re.IGNORECASE
)
"""Words of telegraphic dictation whose dot ends a sentence only before a capital."""
_BULLET = re.compile(r"[ \t]*(?:[-*\u2022\u00b7>]+[ \t]*|\(?(?:\d{1,2}|[a-hA-H])[.)](?=[ \t])[ \t]*)")
_OPEN_END = re.compile(
    r"(?:[,(/&+-]|\b(?:of|the|a|an|in|with|and|or|no|at|to|is|are|distal|for|by|through|without|not))\s*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[ \t]*[A-Za-z][\w /()]{0,30}:")
_LETTERHEAD_CHARS, _WRAP_CHARS = 100, 55
"""A line of `_WRAP_CHARS` that ends without a stop was wrapped by the editor, so its sentence goes on."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its kind and the characters [start, end) of its text, heading excluded."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters [start, end) of one sentence; `line_start`: it opens a line."""

    start: int
    end: int
    line_start: bool


def split_sections(text: str) -> list[Section]:
    """Return the sections in order; text before the first heading is `body`."""
    marks = [(m.start(), m.end(), m.lastgroup or "body") for m in _HEADING.finditer(text) if _stands(text, m)]
    marks = _superseded(text, [(a, b, _in_place(text, i, marks)) for i, (a, b, _) in enumerate(marks)])
    titles = [(m.start("title"), m.end(), "title") for m in _TITLE.finditer(text) if not _STATES.search(m["title"])]
    taken = [(a, b) for a, b, _ in marks]
    marks += [t for t in titles if not any(a < t[1] and t[0] < b for a, b in taken)]
    marks = _with_unknown(text, sorted(marks))
    out: list[Section] = []
    if not marks or marks[0][0] > 0:
        out.append(Section("body", 0, marks[0][0] if marks else len(text)))
    for i, (start, end, kind) in enumerate(marks):
        stop = marks[i + 1][0] if i + 1 < len(marks) else len(text)
        if kind == "title":  # the title is a line of its own; what follows is the body
            out += [Section("procedure", start, end), Section("body", end, stop)]
        else:
            out.append(Section(kind, end, stop))
    filled = {s.kind for i, s in enumerate(out) if _is_filled(text[s.start : s.end].strip(), s.kind, i == 0)}
    last = max((i for i, s in enumerate(out) if s.kind not in _SHUT), default=-1)
    described = bool(filled & {"findings", "body"})
    return [p for i, s in enumerate(out) for p in _release_body(text, s, described, bool(filled & BODY), i == last)]


def _in_place(text: str, i: int, marks: Sequence[tuple[int, int, str]]) -> str:
    """Return what heading `i` means where it stands: `Details:` below a result are findings, above they are history."""
    start, end, kind = marks[i]
    above = {k for _, _, k in marks[:i]}
    summed_up = bool(above & BODY) or (not above and _RESULT.search(text, 0, start) is not None)
    return "findings" if summed_up and kind == "history" and _DETAILS.fullmatch(text[start:end]) else kind


def _superseded(text: str, marks: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Let a preliminary reading be another's claim where a final one follows."""
    early = [a for a, b, _ in marks if _EARLY.search(text, a, b)]
    late = [a for a, b, _ in marks if _LATE.search(text, a, b) and early and a > early[0]]
    if not late or _AGREES.match(text, next(b for a, b, _ in marks if a == late[0])):
        return marks
    kinds = dict.fromkeys((a for a in early if a < late[0]), "comparison") | dict.fromkeys(late, "impression")
    return [(a, b, kinds.get(a, kind)) for a, b, kind in marks]


def _with_unknown(text: str, marks: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Let a heading that no table knows end a history: what stands below it is read as body.

    The label stays with it (`Fracture: distal radius`). At the top, above findings under their own
    heading, it opens a history. A label that names a bone or a side is no heading but a line of a
    template, and so is one of lower case within the text.
    """
    out = list(marks)
    for m in _UNKNOWN.finditer(text):
        above = [k for a, _, k in marks if a <= m.start()]
        inside = above[-1] if above else "top" if marks and marks[0][2] == "findings" else "body"
        known = any(a < m.end() and m.start() < b for a, b, _ in marks)
        label = m.group("label")
        if inside in _SHUT or inside == "title" or known or _BONE_LABEL.search(label):
            continue
        if not label[:1].isupper() and m.start():
            continue
        at_top = inside == "top"
        out.append((m.start(), m.end() if at_top else m.start(), "indication" if at_top else "body"))
    return sorted(out)


def _is_filled(text: str, kind: str, opens: bool) -> bool:
    """Whether a section says something; a line above the first heading may be but a title (`RADIOLOGY REPORT`)."""
    letterhead = opens and kind == "body" and len(text) <= _LETTERHEAD_CHARS and not _STATES.search(text)
    return bool(text) and not letterhead


def _stands(text: str, m: re.Match[str]) -> bool:
    """Whether a heading has its colon or dash, or a line of its own (`... Examination` may just end a line)."""
    return m.group().rstrip()[-1] in ":-\u2013\u2014" or m.start() == 0 or text[m.start() - 1] == "\n"


def _release_body(text: str, section: Section, described: bool, has_body: bool, last: bool) -> list[Section]:
    """Give back as body what stands below a history-like section without a heading of its own.

    Args:
        text: the report.
        section: one of its sections.
        described: whether the report has findings somewhere (not an impression alone).
        has_body: whether it has findings or an impression.
        last: whether no further section of the exam follows.
    """
    if section.kind in _SHUT:
        return [section]
    sentences = split_sentences(text, section.start, section.end)
    lead = len(text[section.start : section.end]) - len(text[section.start : section.end].lstrip())
    blank = _BLANK_LINE.search(text, section.start + lead, section.end)
    line = next((s.start for s in sentences[1:] if s.line_start), None)
    if blank and last and not has_body:
        cut = blank.start()
    elif not described and line is not None:
        cut = line
    elif not has_body and last and len(sentences) > 1:
        cut = sentences[1].start
    else:
        return [section]
    return [Section(section.kind, section.start, cut), Section("body", cut, section.end)]


def split_sentences(text: str, start: int, end: int) -> list[Sentence]:
    """Return the sentences of `text[start:end]`; list items and wrapped lines are told apart."""
    out: list[Sentence] = []
    begin, fresh = start, True
    for m in _STOP.finditer(text, start, end):
        newline = m.group() == "\n"
        if newline and not _line_ends(text, begin, m.start(), m.end(), end):
            continue
        if not newline and _goes_on(text, begin, m):
            continue
        out += _trimmed(text, begin, m.end(), fresh)
        fresh = newline or not m.group() or (fresh and not text[begin : m.end()].strip())
        begin = m.end()
    return out + _trimmed(text, begin, end, fresh)


def _goes_on(text: str, begin: int, stop: re.Match[str]) -> bool:
    before = text[max(begin, stop.start() - 12) : stop.start()]
    if stop.group() == "." and _CUT_SHORT.search(before) and text[stop.end() :][:3].lstrip()[:1].islower():
        return True
    if "?" in stop.group() and (not before or before[-1].isspace() or before[-1] == "("):
        return True
    return (
        stop.group() == "." and _ABBREVIATION.search(before) is not None and not before.lower().endswith((" i", " v"))
    )


def _line_ends(text: str, begin: int, at: int, after: int, end: int) -> bool:
    line = text[text.rfind("\n", max(begin - 200, 0), at) + 1 : at].rstrip()
    rest = text[after : text.find("\n", after, end) if text.find("\n", after, end) >= 0 else end]
    if not line or not rest.strip():
        return True
    wrapped = len(line) >= _WRAP_CHARS and line[-1] not in ".;:!?"
    if _BULLET.match(rest):
        return True
    if _LABEL.match(rest) and (not wrapped or (rest.lstrip()[0].isupper() and not _OPEN_END.search(line))):
        return True
    if _OPEN_END.search(line) or rest.lstrip()[0].islower():
        return False
    return not wrapped


def _trimmed(text: str, start: int, end: int, line_start: bool) -> list[Sentence]:
    while start < end and text[start].isspace():
        line_start |= text[start] == "\n"
        start += 1
    if line_start and (m := _BULLET.match(text, start, end)):
        start = m.end()
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return [Sentence(start, end, line_start)] if start < end else []
