"""The record beyond the scored fields, and the evidence behind it."""

import pytest

from wristmir_ray.anatomy import View
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.mining.findings import MAX_REPORT_BYTES, Record
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.stages import validated


def test_exam_level_fields() -> None:
    record = mine(
        "XR WRIST LEFT, PA AND LATERAL VIEWS\nFINDINGS: Fiberglass cast in place. "
        "K-wires traverse the distal radius fracture. The bones are demineralized."
    )
    assert (record.side, record.immobilisation, record.hardware, record.bone_quality) == (
        "left",
        "cast",
        True,
        "osteopenia",
    )
    assert set(record.views) == {View.PA, View.LATERAL}
    assert {e.field for e in record.evidence} >= {"side", "views", "immobilisation", "hardware", "bone_quality"}


@pytest.mark.parametrize("text", ["The cast has been removed.", "No cast.", "Interval removal of the cast."])
def test_a_cast_that_is_gone(text: str) -> None:
    assert mine(f"Wrist. {text} Distal radius fracture.").immobilisation == "none"


def test_angulation_and_alignment() -> None:
    (finding,) = mine(
        "Distal radius fracture with 15 degrees of apex volar angulation in near anatomic alignment."
    ).findings
    assert (finding.angulation_direction, finding.angulation_deg) == ("dorsal", 15)
    assert finding.alignment == "near_anatomic"


def test_every_value_has_a_quote_of_the_words_that_say_it() -> None:
    text = "Left wrist. FINDINGS: Minimally displaced SH-II fracture of the distal radius with callus."
    (finding,) = mine(text).findings
    quotes = {e.field: e.quote for e in finding.evidence}
    assert quotes == {
        "presence": "Minimally displaced SH-II fracture",
        "displacement": "Minimally displaced",
        "fracture_type": "SH-II",
        "physis_involved": "SH-II",
        "region": "distal radius",
        "healing": "callus",
    }
    assert {e.section for e in finding.evidence} == {"findings"}


def test_a_typing_error_is_quoted_as_it_stands() -> None:
    (finding,) = mine("Tranverse fracutre of the distal raduis.").findings
    assert {e.quote for e in finding.evidence} == {"Tranverse fracutre", "Tranverse", "distal raduis"}


def test_a_fracture_of_the_history_that_the_body_confirms_keeps_its_section() -> None:
    (finding,) = mine("HISTORY: Follow-up distal radius fracture.\nFINDINGS: Bridging callus is present.").findings
    assert {(e.field, e.section) for e in finding.evidence} == {
        ("region", "history"),
        ("presence", "findings"),
        ("healing", "findings"),
    }


def test_a_report_longer_than_the_bound_is_refused() -> None:
    with pytest.raises(Reject) as caught:
        mine("Wrist. " + "é" * MAX_REPORT_BYTES)
    assert caught.value.code is ErrorCode.REPORT_TOO_LONG


def test_a_record_whose_quotes_do_not_stand_is_refused() -> None:
    record = mine("Fracture of the distal radius.")
    with pytest.raises(Reject) as caught:
        validated(record, "Another text altogether, longer than it.")
    assert caught.value.code is ErrorCode.INVALID_RECORD


def test_a_record_that_breaks_its_schema_is_refused_without_showing_it() -> None:
    broken = Record.model_construct(side="sinister secret", findings=(), views=(), evidence=())
    with pytest.raises(Reject) as caught:
        validated(broken, "x")
    assert caught.value.code is ErrorCode.INVALID_RECORD
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("Right distal radius greenstick fracture.", ["right"]),
        ("Fracture of the distal left radius.", ["left"]),
        ("Tip of the left ulnar styloid fractured.", ["left"]),
        ("Buckle fracture left distal radius. Right ulnar styloid fracture.", ["left", "right"]),
    ],
)
def test_a_side_within_the_words_of_a_bone_is_read(text: str, sides: list[str]) -> None:
    assert [f.side for f in mine(f"Wrist. {text}").findings] == sides
