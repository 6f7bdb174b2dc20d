"""Typing errors: one edit, never in a word that turns a meaning round."""

import numpy as np
import pytest

from wristmir_ray.phantom.sentences import BANKS, load_bank
from wristmir_ray.phantom.typing_errors import add_slips, slip


def edits(a: str, b: str) -> int:
    """Damerau-Levenshtein distance (adjacent swaps count one)."""
    rows = [list(range(len(b) + 1))]
    for i, left in enumerate(a, start=1):
        row = [i]
        for j, right in enumerate(b, start=1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@pytest.mark.parametrize("word", ["undisplaced", "nondisplaced", "incomplete", "metaphysis", "healed", "styloid"])
def test_slip_is_one_edit_and_keeps_the_ends(word: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        wrong = slip(word, rng)
        assert edits(word, wrong) == 1
        assert wrong[:3] == word[:3]
        assert wrong[-1] == word[-1]


@pytest.mark.parametrize("bank", BANKS)
def test_usual_slips_are_one_edit(bank: str) -> None:
    for word, wrongs in load_bank(bank).slips.items():
        for wrong in wrongs:
            assert edits(word, wrong) == 1, (word, wrong)


def test_banks_slip_differently() -> None:
    first, second = (load_bank(bank).slips for bank in BANKS)
    shared = {(word, wrong) for word, wrongs in first.items() for wrong in wrongs if wrong in second.get(word, ())}
    assert len(shared) <= 2


def test_negations_and_numbers_stay() -> None:
    text = "No fracture, cannot exclude SH 2 without 12 degrees, neither negative nor absent."
    rng = np.random.default_rng(1)
    kept = ("No ", "cannot", "SH 2", "without", "12", "neither", "negative", "nor")
    texts = {add_slips(text, {"fracture": ("fracutre",)}, rng) for _ in range(200)}
    assert len(texts) > 5
    assert text not in texts
    assert all(word in wrong for wrong in texts for word in kept)


def test_text_without_long_words_is_left() -> None:
    assert add_slips("No fx.", {}, np.random.default_rng(0)) == "No fx."
