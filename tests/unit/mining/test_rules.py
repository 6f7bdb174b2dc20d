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


@pytest.mark.parametrize(
    ("history", "findings", "kind"),
    [
        ("SH-II fracture of the distal radius.", "The fracture of the distal radius is healing.", "salter_harris_ii"),
        ("SH-II fracture of the distal radius.", "Periosteal new bone at the distal radius.", "salter_harris_ii"),
        ("SH-II fracture of the distal radius.", "There is a healing fracture of the distal radius.", "unknown"),
        ("Rule out SH-II fracture of the distal radius.", "The distal radius fracture is healing.", "unknown"),
        ("SH-II fracture of the distal ulna.", "The fracture of the distal radius is healing.", "unknown"),
        ("Buckle or SH-II fracture of the distal radius.", "The buckle fracture of the radius is healing.", "buckle"),
    ],
)
def test_the_history_tells_the_type_of_the_fracture_that_the_body_calls_known(
    history: str, findings: str, kind: str
) -> None:
    (finding,) = mine(f"HISTORY: {history}\nFINDINGS: {findings}").findings
    assert finding.fracture_type == kind
    sections = {e.section for e in finding.evidence if e.field == "fracture_type"}
    assert sections == ({"unknown": set(), "buckle": {"findings"}}.get(kind, {"history"}))


@pytest.mark.parametrize(
    ("report", "presence"),
    [
        ("?# distal radius.\nNo # seen.", "absent"),
        ("Query distal radius fracture.\nThe distal radius is intact.", "absent"),
        ("?# distal radius.\nNo other fracture.", "uncertain"),
        ("?# distal radius.\nNo displaced fracture.", "uncertain"),
        ("?# distal radius.\nDistal ulna intact.", "uncertain"),
        ("FINDINGS: ?# distal radius. No fracture elsewhere.", "uncertain"),
        ("PRELIMINARY REPORT: Fracture of the distal radius.\nFINAL REPORT: No fracture.", "absent"),
        ("PRELIMINARY REPORT: Fracture of the distal radius.", "present"),
    ],
)
def test_a_question_is_answered_and_a_final_reading_stands(report: str, presence: str) -> None:
    assert next(f.presence for f in mine(f"Wrist. {report}").findings if f.region == "distal_radius") == presence


def test_what_is_said_of_another_joint_is_no_finding() -> None:
    record = mine("ELBOW AND WRIST. Supracondylar fracture of the humerus. No fracture of the distal radius.")
    assert [(f.region, f.presence) for f in record.findings] == [("distal_radius", "absent")]


def test_a_sign_that_is_explained_is_no_fracture() -> None:
    assert not mine("Wrist. An oblique lucency of the distal radius is typical of a nutrient channel.").findings


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


@pytest.mark.parametrize(
    ("text", "side", "expected"),
    [
        (
            "There is a fracture of the left distal radius and right distal ulna.",
            "bilateral",
            {("distal_radius", "left", "present"), ("distal_ulna", "right", "present")},
        ),
        (
            "Buckle fractures of the left and right distal radius.",
            "bilateral",
            {("distal_radius", "left", "present"), ("distal_radius", "right", "present")},
        ),
        (
            "Left wrist. Buckle fracture of the distal radius. The right distal radius is intact.",
            "left",
            {("distal_radius", "left", "present"), ("distal_radius", "right", "absent")},
        ),
        (
            "Left distal radius and ulna are fractured, right distal radius is intact.",
            "bilateral",
            {
                ("distal_radius", "left", "present"),
                ("distal_ulna", "left", "present"),
                ("distal_radius", "right", "absent"),
            },
        ),
        ("XR BOTH WRISTS. Buckle fractures.", "bilateral", set()),
    ],
)
def test_every_bone_has_the_side_that_is_said_of_it(text: str, side: str, expected: set[tuple[str, str, str]]) -> None:
    record = mine(text)
    assert record.side == side
    assert {(f.region.value, f.side and f.side.value, f.presence.value) for f in record.findings} == expected
