"""What another exam or another person claims within the text of a report: no finding of this exam.

    active    `the referring hospital suspected a buckle fracture of the radius`
    passive   `a fracture of the ulna was called on the initial films`
    lead      `per the ER read, ulnar styloid fracture`
    aside     `the radius (outside exam: torus fracture) is intact`

`The fracture described on the outside films is healing` is no hearsay: its verb is of today.
"""

import re
from collections.abc import Iterator, Sequence

from wristmir_ray.mining.clauses import Clause
from wristmir_ray.mining.tokens import Token
from wristmir_ray.mining.vocabulary import expand, read_rows


def _words() -> dict[str, str]:
    """Return each kind of `hearsay.csv` as alternatives of a pattern, the longest first."""
    phrases = {r["kind"]: {w for p in r["phrases"].split(";") for w in expand(p)} for r in read_rows("hearsay.csv")}
    return {k: "|".join(re.escape(w) for w in sorted(own, key=lambda w: (-len(w), w))) for k, own in phrases.items()}


WORDS = _words()
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]*"
_DATE = (
    r"\d{1,4} [/-] \d{1,2}(?: [/-] \d{2,4})?|\d{1,2}\.\d{1,2}(?: \. \d{2,4})?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}|{_MONTH}(?: \.)? \d{{1,2}}"
)
_SOURCE = re.compile(
    rf"\b(?:(?:{WORDS['who']})(?: \w+)? (?:{WORDS['what']})|{WORDS['source']}|dr (?:\. )?\w+"
    rf"|(?:{WORDS['earlier']}) (?:\. )?(?:{WORDS['study']})"
    rf"|(?:of|on|from|dated) (?:the )?(?:{_DATE})|(?:{_DATE}) (?:{WORDS['study']}))(?!\w)"
)
_ACTIVE = re.compile(rf"\b(?<!previously )(?:{WORDS['claim']})\b")
_PASSIVE = re.compile(rf"\b(?:was|were|(?:had|has|have|would have) been) (?:\w+ly )?(?:{WORDS['claim']})\b")
_REDUCED = re.compile(rf"\b(?:{WORDS['doubt']}) (?:on|at|by|in|during|from) (?:the )?[^,;]{{0,40}}$")
_NOUN = re.compile(rf"\b(?:{WORDS['claim_of']})\b")
_LEAD = re.compile(rf"^(?:{WORDS['lead']}|prev(?:ious)?(?: \.)? (?:{WORDS['study']}))\b|\baccording to\b")
_SECOND = re.compile(r"^second opinion on\b")
TODAY = re.compile(rf"\b(?:{WORDS['today']})(?!\w)")
FINITE = re.compile(rf"\b(?:{WORDS['finite']})\b")
_SAID = re.compile(rf"\b(?:{WORDS['said']})\b")
_LED, _ASIDE = (frozenset(WORDS[k].split("|")) for k in ("led", "aside"))
_MAX_ASIDE = 40


def is_hearsay(clause: Clause) -> bool:
    """Whether a clause claims a fracture, or that there is none, on the word of another exam or person."""
    heads = [m.first for m in clause.mentions if m.kind in {"fx", "combo", "type", "deny", "intact", "negpost"}]
    if not heads:
        return False
    text = " ".join(clause.words(clause.first, clause.last))
    before = " ".join(clause.words(clause.first, heads[0]))
    after = " ".join(clause.words(heads[0], clause.last))
    source = _SOURCE.search(text)
    if _SECOND.match(text):
        return True
    if source is None or TODAY.search(text):
        return False
    told = _SOURCE.search(before)
    if told is not None and _NOUN.search(before):
        return True
    if FINITE.search(_SAID.sub("", after)):
        return False
    denied = any(m.kind == "neg" and m.first < heads[0] for m in clause.mentions)
    led = _LEAD.search(text) is not None and (told is not None or "according to" in text)
    active = told is not None and _ACTIVE.search(before, told.start()) is not None
    return bool(_PASSIVE.search(text) or ((led or active) and not denied) or _REDUCED.search(after))


def part_asides(tokens: Sequence[Token]) -> Iterator[tuple[list[Token], bool]]:
    """Yield the asides of a sentence that tell another's claim (True), then what is left of it (False)."""
    words = [t.text for t in tokens]
    rest = list(tokens)
    i = 0
    while i < len(words):
        end = _closing(words, i)
        if end is not None and _tells(words, i, end):
            yield list(tokens[i + (i > 0) : end]), True
            shut = tokens[end].start if words[i] == "," else tokens[end].end
            rest = [t for t in rest if not tokens[i].start <= t.start < shut]
            i = end
        i += 1
    yield rest, False


def _closing(words: Sequence[str], i: int) -> int | None:
    """Return where the aside that opens at word `i` closes: a bracket, a second dash, the comma of a clause."""
    near = range(i + 1, min(len(words), i + _MAX_ASIDE))
    if words[i] == "(":
        return next((k for k in near if words[k] == ")"), None)
    if words[i] == "--" and i:
        return next((k for k in near if words[k] == "--"), None)
    relative = words[i] == "," and bool(_ASIDE & set(words[i + 1 : i + 4]))
    led = i == 0 and words[0] in _LED
    return next((k for k in near if words[k] == ","), None) if relative or led else None


def _tells(words: Sequence[str], i: int, end: int) -> bool:
    """Whether the aside of words (i, end) is another's claim; who claims may stand before a relative clause."""
    text = " ".join(words[i + (i > 0) : end])
    if TODAY.search(text) or FINITE.search(_SAID.sub("", text)):
        return False
    who = " ".join(words[max(0, i - 8) : end]) if words[i] == "," else text
    claims = _ACTIVE.search(text) is not None or ":" in words[i:end] or _NOUN.search(text) is not None
    return _SOURCE.search(who) is not None and claims
