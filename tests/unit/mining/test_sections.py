"""Sections and sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.sections import split_sections, split_sentences


def kinds(text: str) -> list[tuple[str, str]]:
    return [(s.kind, text[s.start : s.end].strip()) for s in split_sections(text) if text[s.start : s.end].strip()]


@given(st.text(alphabet="FINDINGS:\n .abhistory?-1", max_size=200))
def test_sections_and_sentences_stand_in_order_and_do_not_overlap(text: str) -> None:
    at = 0
    for section in split_sections(text):
        assert at <= section.start <= section.end <= len(text)
        at = section.end
        inner = section.start
        for sentence in split_sentences(text, section.start, section.end):
            assert inner <= sentence.start < sentence.end <= section.end
            inner = sentence.end


def test_sections_in_any_order() -> None:
    text = "IMPRESSION: A.\nFINDINGS: B.\nReason for exam: C.\nTECHNIQUE: D."
    assert kinds(text) == [("impression", "A."), ("findings", "B."), ("indication", "C."), ("technique", "D.")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HISTORY: Fall.\nNo fracture.", [("history", "Fall."), ("body", "No fracture.")]),
        ("Clinical details: Fall. No fracture.", [("history", "Fall."), ("body", "No fracture.")]),
        (
            "Hx: Fall.\n\nBuckle fracture.\nConclusion: As above.",
            [("history", "Fall."), ("body", "Buckle fracture."), ("impression", "As above.")],
        ),
        ("HISTORY: Fall.\nPain.\nFINDINGS: Normal.", [("history", "Fall.\nPain."), ("findings", "Normal.")]),
    ],
)
def test_what_stands_below_a_history_without_a_heading_is_body(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds(text) == expected


def test_a_sentence_that_speaks_of_radiographs_is_no_title() -> None:
    assert kinds("X-ray left wrist. Radiographs confirm a fracture.") == [
        ("procedure", "X-ray left wrist."),
        ("body", "Radiographs confirm a fracture."),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("Displaced by 2.5 mm. Two", ["Displaced by 2.5 mm.", "Two"]),
        ("Seen by Dr. Smith. Two", ["Seen by Dr. Smith.", "Two"]),
        ("Fall. ? fracture.", ["Fall.", "? fracture."]),
        ("- one\n- two", ["one", "two"]),
        ("1. One\n2. Two", ["One", "Two"]),
        ("Fracture of the\ndistal radius", ["Fracture of the\ndistal radius"]),
        ("Radius: one\nUlna: two", ["Radius: one", "Ulna: two"]),
        ("No space.After", ["No space.", "After"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[s.start : s.end] for s in split_sentences(text, 0, len(text))] == expected


FRACTURE = "Buckle fracture of the distal radius."
CLAIM = "Fell, ulnar styloid fracture?"


@pytest.mark.parametrize(
    ("report", "kinds"),
    [
        (f"Wrist L pa/lat.\nHistory: {CLAIM}\nAspect: {FRACTURE}", ["body", "history", "body"]),
        (f"Bystander account: {CLAIM}\nFindings: {FRACTURE}", ["indication", "findings"]),
        (f"q: {CLAIM} // report: {FRACTURE}", ["indication", "findings"]),
        (f"Result: {FRACTURE}\nDetails: The ulna is intact.\nRequest: {CLAIM}", ["findings", "findings", "indication"]),
        (f"Details: {CLAIM}\nResult: {FRACTURE}", ["history", "findings"]),
        (f"Findings:\nDistal radius: buckle fracture.\nUlna: intact.\nHistory: {CLAIM}", ["findings", "history"]),
    ],
)
def test_a_heading_means_what_its_place_makes_of_it(report: str, kinds: list[str]) -> None:
    assert [s.kind for s in split_sections(report)] == kinds
    found = {f.region.value: f.presence.value for f in mine(report).findings}
    assert found["distal_radius"] == "present"
    assert found.get("ulnar_styloid") is None


def test_a_line_of_views_above_a_history_is_no_body() -> None:
    report = f"Left wrist 2 vw.\nCLINICAL: {CLAIM}\n{FRACTURE}"
    assert [f.region.value for f in mine(report).findings] == ["distal_radius"]
