"""Where a sentence is cut into clauses: at marks, at `but` and its like, before `there is`, before an ellipsis."""

from collections.abc import Iterator, Sequence

from wristmir_ray.mining.clauses import ADJECTIVES, AS, AUXILIARIES, HEAD_KINDS, MAX_GAP, Clause
from wristmir_ray.mining.terms import Mention
from wristmir_ray.mining.tokens import Token

_MAX_TOKENS = 150
"""A clause is cut here: texts are arbitrary, sentences are not."""
_MAX_ELLIPTIC, _MAX_ADDED = 12, 30
_ELLIPTIC = AUXILIARIES | frozenset({"the", "its", "may", "might", "could", "be", "too", "also", "not", "."})
"""Words of a clause that only says yes, no or maybe of a bone: `and the ulna may be`."""


def split_clauses(tokens: Sequence[Token], mentions: Sequence[Mention], first: int = 0) -> Iterator[Clause]:
    """Cut a sentence from token `first` at semicolons, dashes, `but` and its like, and before `there is`."""
    breaks = {m.first: m.last for m in mentions if m.kind == "break"}

    def said(start: int, end: int) -> bool:
        """Whether these tokens make a statement, rather than open one (`At the distal radius there is ...`)."""
        return any(
            start <= m.first < end and m.kind in {*HEAD_KINDS, "intact", "verb", "heal", "prior"} for m in mentions
        )

    at = {m.first: m for m in mentions}
    ends = [m.last + 1 for m in mentions if m.kind == "fx"]
    colon = next((k for k in ends if k < len(tokens) and tokens[k].text == ":"), len(tokens))
    begin = first
    for i in range(first, len(tokens)):
        word, following = tokens[i].text, tokens[i + 1].text if i + 1 < len(tokens) else ""
        there = word == "there" and following in {"is", "are", "was", "were", "has"} and said(begin, i)
        if word == "--" and i > begin and _adds_attributes(tokens, at, begin, i):
            continue
        there = there or (i > begin and (_opens_echo(tokens, at, i) or _leaves_aside(tokens, at, begin, i)))
        if word in {";", "--"} or i in breaks or there or i - begin >= _MAX_TOKENS:
            if i > begin:
                yield _clause(tokens, mentions, begin, i, colon)
            begin = breaks[i] + 1 if i in breaks else i + (word in {";", "--"})
    if begin < len(tokens):
        yield _clause(tokens, mentions, begin, len(tokens), colon)


def _clause(tokens: Sequence[Token], mentions: Sequence[Mention], first: int, last: int, colon: int) -> Clause:
    clause = Clause(tokens, mentions, first, last)
    clause.listed = colon < first
    return clause


def _adds_attributes(tokens: Sequence[Token], at: dict[int, Mention], begin: int, i: int) -> bool:
    """Whether nothing but attributes of a fracture follow a dash (`fractured radius - transverse and displaced`)."""
    limit = min(len(tokens), i + _MAX_ADDED)
    end = next((k for k in range(i + 1, limit) if tokens[k].text in {";", "--"}), limit)
    after = [at[k] for k in range(i + 1, end) if k in at]
    fractured = any(k in at and at[k].kind in HEAD_KINDS for k in range(begin, i))
    return fractured and bool(after) and all(m.kind in ADJECTIVES for m in after)


def _opens_echo(tokens: Sequence[Token], at: dict[int, Mention], i: int) -> bool:
    """Whether a clause such as `so is the ulna`, `and the ulna may be` starts at token `i` (see `ellipsis`)."""
    if tokens[i].text in {"and", ","}:
        if i + 1 < len(tokens) and tokens[i + 1].text == "otherwise":
            return i + 2 in at and at[i + 2].kind in {"intact", "neg"}
        return _is_elliptic(tokens, at, i + 1)
    if tokens[i].text not in AS or i + 1 >= len(tokens) or tokens[i + 1].text not in AUXILIARIES:
        return False
    return any(k in at and at[k].kind == "region" for k in range(i + 2, i + 3 + MAX_GAP))


def _leaves_aside(tokens: Sequence[Token], at: dict[int, Mention], begin: int, i: int) -> bool:
    """Whether a join at token `i` ends an aside (`which is displaced, and a buckle fracture of the ulna`)."""
    lead = i + (tokens[i].text == ",")
    article = lead + (lead < len(tokens) and tokens[lead].text == "and")
    if article == i or article >= len(tokens) or tokens[article].text not in {"a", "an"}:
        return False
    aside = next((k for k in range(i - 1, begin, -1) if tokens[k].text == "which"), None)
    fractured = any(k in at and at[k].kind in HEAD_KINDS for k in range(begin, aside or begin))
    ahead = next((m for k, m in sorted(at.items()) if k > i and m.kind in {*HEAD_KINDS, "intact", "other"}), None)
    return aside is not None and fractured and ahead is not None and ahead.kind in HEAD_KINDS


def _is_elliptic(tokens: Sequence[Token], at: dict[int, Mention], first: int) -> bool:
    """Whether bones and an auxiliary are all that the sentence has from token `first` on."""
    rest = range(first, len(tokens))
    if not 2 <= len(rest) <= _MAX_ELLIPTIC:
        return False
    near = [at[k] for k in range(max(0, first - 12), len(tokens)) if k in at]
    named = {i for m in near if m.kind in {"region", "side"} for i in range(m.first, m.last + 1)}
    if not any(i in named for i in rest) or first - 2 in named:
        return False
    words = [tokens[i].text for i in rest if tokens[i].text != "."]
    if not all(i in named or tokens[i].text in _ELLIPTIC for i in rest):
        return False
    return rest[0] in named or words[0] in {"the", "its"} if words[-1] in {"be", "too", "not"} | AUXILIARIES else False
