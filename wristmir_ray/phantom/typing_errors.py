"""Slips of the fingers, one edit away from the word that was meant."""

import re

import numpy as np

_WORD = re.compile(r"\b(?!without|cannot|neither|negative)[a-z]{6,}\b")
_KEPT = 3
"""First letters that a slip leaves alone, so that `un-`, `non-` and `in-` never change a meaning."""


def add_slips(text: str, slips: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    """Return `text` with one word misspelt: one of the bank's usual slips, or a random one elsewhere.

    Numbers, grades, negations and short words are never touched.
    """
    if rng.random() < 0.5:
        usual = [word for word in slips if word in text]
        if usual:
            word = usual[int(rng.random() * len(usual))]
            places = [match.start() for match in re.finditer(rf"\b{re.escape(word)}\b", text)]
            if places:
                at = places[int(rng.random() * len(places))]
                wrong = slips[word][int(rng.random() * len(slips[word]))]
                return text[:at] + wrong + text[at + len(word) :]
    words = list(_WORD.finditer(text))
    if not words:
        return text
    match = words[int(rng.random() * len(words))]
    return text[: match.start()] + slip(match.group(), rng) + text[match.end() :]


def slip(word: str, rng: np.random.Generator) -> str:
    """Return `word` with two inner letters swapped, or one lost or doubled; the first three and the last stay."""
    at = int(rng.integers(_KEPT, len(word) - 2))
    kind = rng.random()
    if kind < 0.5 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind < 0.8:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
