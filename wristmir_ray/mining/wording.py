"""Set phrases are read as plainer words: `as well as` as `and`, `nothing abnormal` as `no abnormality`.

`wordings.csv` says which. Every plain word stands for the characters of the whole phrase, so that quotes hold.
"""

from collections.abc import Sequence
from functools import lru_cache

from wristmir_ray.mining.tokens import Token
from wristmir_ray.mining.vocabulary import expand, read_rows

_Phrases = dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]
"""First word -> its phrases, longest first, each with the words that it is read as."""


@lru_cache(maxsize=1)
def _phrases() -> _Phrases:
    out: _Phrases = {}
    for row in read_rows("wordings.csv"):
        for phrase in row["phrases"].split(";"):
            for wording in expand(phrase.strip()):
                words = tuple(wording.split())
                out.setdefault(words[0], []).append((words, tuple(row["read_as"].split())))
    return {first: sorted(found, key=lambda f: (-len(f[0]), f)) for first, found in out.items()}


def reword(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens of a sentence with its set phrases read as plainer words."""
    table = _phrases()
    if not any(t.text in table for t in tokens):
        return list(tokens)
    words = tuple(t.text for t in tokens)
    out: list[Token] = []
    i = 0
    while i < len(words):
        found = next((f for f in table.get(words[i], ()) if words[i : i + len(f[0])] == f[0]), None)
        if found is None:
            out.append(tokens[i])
            i += 1
            continue
        phrase, plain = found
        start, end = tokens[i].start, tokens[i + len(phrase) - 1].end
        out += [Token(word, start, end) for word in plain]
        i += len(phrase)
    return out
