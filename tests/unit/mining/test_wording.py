"""Set phrases: what they are read as, and that quotes still stand."""

import pytest

from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.tokens import tokenise
from wristmir_ray.mining.wording import reword


def words(text: str) -> list[str]:
    return [t.text for t in reword(tokenise(text, 0, len(text)))]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("radius as well as ulna", ["radius", "and", "ulna"]),
        ("nothing abnormal seen", ["no", "abnormality", "seen"]),
        ("an ossicle rather than a fracture", ["an", "ossicle", "and", "not", "a", "fracture"]),
        ("not only the radius", ["the", "radius"]),
        ("fracture of the radius", ["fracture", "of", "the", "radius"]),
    ],
)
def test_set_phrases_are_read_as_plainer_words(text: str, read: list[str]) -> None:
    assert words(text) == read


def test_reworded_tokens_stand_for_the_characters_of_their_phrase() -> None:
    text = "Nothing untoward is seen at the ulna."
    first, second, *_ = reword(tokenise(text, 0, len(text)))
    assert text[first.start : first.end] == text[second.start : second.end] == "Nothing untoward"


def test_a_set_phrase_is_quoted_as_it_stands() -> None:
    (finding,) = mine("Wrist. Nothing untoward is seen at the distal ulna.").findings
    assert "Nothing untoward" in {e.quote for e in finding.evidence}
