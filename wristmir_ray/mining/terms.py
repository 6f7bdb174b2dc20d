"""The term table: how reports write a concept, its canonical value, its RadLex identifier.

The wordings of all terms are one prefix tree over words, matched longest first. A word that no phrase holds is read
as the one vocabulary word of six letters or more at edit distance 1 (insertion, deletion, substitution, transposition),
else with the same inner letters in another order: typing errors. Words of negation never take part in that, neither as
what is meant nor as what is mended: they decide too much.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wristmir_ray.mining.tokens import Token

_MIN_FUZZY = 6
_MIN_TYPED, _MAX_TYPED = 5, 24
_NEVER_MENDED = frozenset({"neg", "not", "spare", "plain"})


@dataclass(frozen=True, slots=True)
class Term:
    """One canonical value of one kind; `rid` is empty where RadLex has none."""

    kind: str
    value: str
    rid: str
    preferred: str


@dataclass(frozen=True, slots=True)
class Mention:
    """A term found in a sentence: tokens [first, last], characters [start, end)."""

    term: Term
    first: int
    last: int
    start: int
    end: int

    @property
    def kind(self) -> str:
        return self.term.kind

    @property
    def value(self) -> str:
        return self.term.value


class _Node:
    __slots__ = ("next", "term")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.term: Term | None = None


class TermTable:
    """The prefix tree of all phrases and the vocabulary for mending typing errors."""

    def __init__(self, terms: Sequence[tuple[Term, str]], cues: Sequence[tuple[Term, str]]) -> None:
        self._root = _Node()
        phrases = [(t, p) for t, p in itertools.chain(cues, terms) if t.kind != "spelling"]
        for term, phrase in phrases:
            if term.kind != "plain":
                self._add(term, phrase)
        self._known = frozenset(w for _, p in phrases for w in p.split())
        negations = {p for t, p in phrases if t.kind in _NEVER_MENDED}
        fuzzy = {w for t, p in phrases if t.kind not in _NEVER_MENDED for w in p.split() if w.isalpha()} - negations
        self._deletes: dict[str, set[str]] = {}
        self._jumbled: dict[str, set[str]] = {}
        for word in sorted(w for w in fuzzy if len(w) >= _MIN_FUZZY):
            for key in _deletions(word):
                self._deletes.setdefault(key, set()).add(word)
            self._jumbled.setdefault(_letters(word), set()).add(word)
        self._mended = {wrong: t.value for t, wrong in terms if t.kind == "spelling"}
        self._bound = len(self._mended) + 50_000  # texts are arbitrary

    def _add(self, term: Term, phrase: str) -> None:
        node = self._root
        for word in phrase.split():
            node = node.next.setdefault(word, _Node())
        node.term = term

    def mend(self, word: str) -> str:
        """Return the vocabulary word that `word` misspells, or `word` itself."""
        if word in self._mended:
            return self._mended[word]
        if not _MIN_TYPED <= len(word) <= _MAX_TYPED or word in self._known or not word.isalpha():
            return word
        if len(self._mended) < self._bound:
            near = set().union(*(self._deletes.get(k, set()) for k in _deletions(word)))
            near = {w for w in near if is_one_edit(word, w)} or self._jumbled.get(_letters(word), set())
            self._mended[word] = (
                min(near, key=lambda w: (w[-1] != word[-1], abs(len(w) - len(word)), w)) if near else word
            )
        return self._mended.get(word, word)

    def find(self, tokens: Sequence[Token]) -> list[Mention]:
        """Return the mentions in a sentence: leftmost, longest, not overlapping."""
        words = [self.mend(t.text) for t in tokens]
        out: list[Mention] = []
        i, n = 0, len(words)
        while i < n:
            node, last, term, j = self._root, -1, None, i
            while j < n and (node := node.next.get(words[j])):  # type: ignore[assignment]
                if node.term is not None:
                    last, term = j, node.term
                j += 1
            if term is None:
                i += 1
                continue
            if term.kind == "angdir" and words[i] in {"radial", "ulnar"}:
                last = i  # the noun after the direction is a mention of its own
            elif term.kind == "region":  # `distal radial growth plate fracture`: a type, not the physis
                last = next((k - 1 for k in (last - 1, last) if k > i and self._is_type(words, k, last)), last)
            sides = self._sides(words, i, last) if term.kind == "region" else {}
            if i in sides and i < last:  # `right distal radius`: the side stands before its bone
                out.append(Mention(sides.pop(i), i, i, tokens[i].start, tokens[i].end))
                i += 1
            out.append(Mention(term, i, last, tokens[i].start, tokens[last].end))
            out += [Mention(side, k, k, tokens[k].start, tokens[k].end) for k, side in sides.items()]
            i = last + 1
        return out

    def _sides(self, words: Sequence[str], first: int, last: int) -> dict[int, Term]:
        """Return the sides that the wording of a bone holds (`fracture of the distal right radius`)."""
        nodes = ((k, self._root.next.get(words[k])) for k in range(first, last + 1))
        return {k: n.term for k, n in nodes if n is not None and n.term is not None and n.term.kind == "side"}

    def _is_type(self, words: Sequence[str], i: int, last: int) -> bool:
        """Whether a fracture type starts at word `i` and reaches beyond word `last`."""
        node: _Node | None = self._root
        for k, word in enumerate(words[i : i + 4], i):
            node = node.next.get(word) if node is not None else None
            if node is not None and k > last and node.term is not None and node.term.kind in {"type", "typeweak"}:
                return True
        return False


def _deletions(word: str) -> Iterator[str]:
    yield word
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]


def _letters(word: str) -> str:
    """Return what a word keeps when its inner letters are jumbled."""
    return word[0] + "".join(sorted(word[1:-1])) + word[-1]


def is_one_edit(a: str, b: str) -> bool:
    """Return whether one insertion, deletion, substitution or swap of neighbours turns `a` into `b`."""
    if a == b:
        return False
    if len(a) > len(b):
        a, b = b, a
    i = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return len(b) - len(a) == 1 and a[i:] == b[i + 1 :]
    swapped = a[i + 1 : i + 2] + a[i : i + 1]
    return a[i + 1 :] == b[i + 1 :] or (swapped == b[i : i + 2] and a[i + 2 :] == b[i + 2 :])
