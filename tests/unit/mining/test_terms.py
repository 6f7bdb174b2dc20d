"""The term table: phrases, typing errors, RadLex identifiers."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import FractureType
from wristmir_ray.mining.terms import is_one_edit
from wristmir_ray.mining.tokens import tokenise
from wristmir_ray.mining.vocabulary import fracture_terms, load_terms, radlex, read_terms

TABLE = load_terms()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("fracutre", "fracture"),
        ("tranverse", "transverse"),
        ("raduis", "radius"),
        ("styliod", "styloid"),
        ("displcaed", "displaced"),
        ("nondisplcaed", "nondisplaced"),
        ("avulson", "avulsion"),
        ("intcat", "intact"),
        ("unla", "ulna"),
        ("calus", "callus"),
    ],
)
def test_typing_errors_are_mended(typed: str, meant: str) -> None:
    assert TABLE.mend(typed) == meant


@pytest.mark.parametrize(
    "word",
    [
        "region",
        "formed",
        "matter",
        "prevent",
        "digital",
        "radical",
        "witout",
        "remove",
        "nto",
        "wihtout",
        "neihter",
        "undisplaced",
    ],
)
def test_other_words_and_negations_are_left_alone(word: str) -> None:
    assert TABLE.mend(word) == word


@given(st.text(alphabet="abcd", min_size=1, max_size=5), st.data())
def test_one_edit_is_symmetric_and_true_of_every_single_edit(word: str, data: st.DataObject) -> None:
    i = data.draw(st.integers(0, len(word) - 1))
    for other in (word[:i] + word[i + 1 :], word[:i] + "x" + word[i:], word[:i] + "x" + word[i + 1 :]):
        assert is_one_edit(word, other)
        assert is_one_edit(other, word)
    if i + 1 < len(word) and word[i] != word[i + 1]:
        assert is_one_edit(word, word[:i] + word[i + 1] + word[i] + word[i + 2 :])
    assert not is_one_edit(word, word)
    assert not is_one_edit(word, word + "xy")


@pytest.mark.parametrize(
    "wording",
    [
        "Salter-Harris II",
        "SH II",
        "SH-2",
        "S-H type 2",
        "Salter Harris type two",
        "type II Salter-Harris",
        "SHII",
        "Salter II",
    ],
)
def test_wordings_of_one_fracture_type(wording: str) -> None:
    (mention,) = TABLE.find(tokenise(wording, 0, len(wording)))
    assert (mention.kind, mention.value, mention.term.rid) == ("type", "salter_harris_ii", "RID4686")
    assert (mention.start, mention.end) == (0, len(wording))


def test_longest_phrase_wins_and_offsets_are_those_of_the_text() -> None:
    text = "  Tip of the ulnar styloid, distal radioulnar joint"
    found = TABLE.find(tokenise(text, 0, len(text)))
    assert [(m.kind, text[m.start : m.end]) for m in found] == [
        ("region", "Tip of the ulnar styloid"),
        ("other", "distal radioulnar joint"),
    ]


def test_every_fracture_type_can_be_said() -> None:
    values = {t.value for t, _ in fracture_terms() if t.kind == "type"}
    assert values == {t.value for t in FractureType} - {"unknown"}


def test_radlex_identifiers_stand_in_radlex_under_their_preferred_names(real_data: Path) -> None:
    with (real_data / "radlex_wrist_subset.csv").open() as f:
        rows = list(csv.DictReader(f))
    radlex_terms = {r["parent_rid"]: r["parent_term"] for r in rows} | {r["rid"]: r["term"] for r in rows}
    named = {(t.rid, t.preferred) for t, _ in [*fracture_terms(), *read_terms("remarks.csv")] if t.rid and t.preferred}
    assert {rid: radlex_terms.get(rid) for rid, _ in named} == dict(named)
    assert len(named) >= 20


def test_a_canonical_value_has_its_identifier() -> None:
    assert radlex("type", "buckle") == "RID4697"
    assert radlex("type", "transverse") == ""
    assert radlex("other", "negative_ulnar_variance") == "RID4783"
