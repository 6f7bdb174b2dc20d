"""The caption templates of the paper's Appendix H."""

import pytest

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Presence, Region, Side
from wristmir_ray.mining.captions import captions
from wristmir_ray.mining.findings import Evidence, Finding, Place, Record
from wristmir_ray.mining.rules import mine


def quotes(*fields: str, start: int = 0) -> tuple[Evidence, ...]:
    return tuple(
        Evidence.model_validate({"field": f, "quote": "x", "start": start, "end": start + 1, "section": "findings"})
        for f in fields
    )


def finding(place: str, presence: str = "present", **fields: object) -> Finding:
    """Return a finding with a quote for every field."""
    evidence = quotes("region", "presence", *fields)
    return Finding.model_validate({"region": place, "presence": presence, "evidence": evidence, **fields})


def text_of(record: Record, region: Region, side: str | None = "left", view: str | None = "pa") -> str:
    return next(c.text for c in captions(record, side, view) if c.region is region)


def test_the_papers_whole_wrist_example_comes_out_letter_for_letter() -> None:
    record = Record(findings=(finding("distal_radius", fracture_type="salter_harris", healing="healing"),))
    expected = (
        "Left wrist X-ray (PA view) showing Salter-Harris fracture in the distal radius, currently in healing stage."
    )
    assert text_of(record, Region.WRIST) == expected


def test_the_papers_region_example_comes_out_letter_for_letter() -> None:
    record = Record(findings=(finding("ulnar_styloid", displacement="mild"),))
    expected = "Ulnar styloid region showing fracture in the ulnar styloid, with displacement (mild)."
    assert text_of(record, Region.ULNAR_STYLOID) == expected


def test_both_examples_come_out_of_reports() -> None:
    healing = mine("Left wrist, PA view. Healing Salter-Harris fracture of the distal radius.")
    expected = (
        "Left wrist X-ray (PA view) showing Salter-Harris fracture in the distal radius, currently in healing stage."
    )
    assert text_of(healing, Region.WRIST, side=None) == expected
    displaced = mine("Mildly displaced fracture of the ulnar styloid.")
    expected = "Ulnar styloid region showing fracture in the ulnar styloid, with displacement (mild)."
    assert text_of(displaced, Region.ULNAR_STYLOID) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"fracture_type": "salter_harris_ii"}, "Salter-Harris II fracture in the distal radius"),
        ({"fracture_type": "plastic_bowing"}, "plastic bowing fracture in the distal radius"),
        ({"displacement": "none"}, "fracture in the distal radius, without displacement"),
        ({"displacement": "present"}, "fracture in the distal radius, with displacement"),
        ({"healing": "acute"}, "fracture in the distal radius, currently in acute stage"),
        ({"healing": "healed"}, "fracture in the distal radius, healed"),
        ({"healing": "nonunion"}, "fracture in the distal radius, with nonunion"),
        ({"presence": "uncertain", "fracture_type": "buckle"}, "possible buckle fracture in the distal radius"),
        (
            {"displacement": "moderate", "healing": "healing"},
            "fracture in the distal radius, with displacement (moderate), currently in healing stage",
        ),
    ],
)
def test_fracture_details(fields: dict[str, str], expected: str) -> None:
    record = Record(findings=(finding("distal_radius", **fields),))
    assert text_of(record, Region.DISTAL_RADIUS) == f"Distal radius region showing {expected}."


def test_several_fractures_stand_in_the_order_of_the_bones() -> None:
    record = Record(
        findings=(
            finding("scaphoid"),
            finding("ulnar_styloid", fracture_type="avulsion"),
            finding("distal_radius", fracture_type="buckle"),
        )
    )
    details = "buckle fracture in the distal radius; avulsion fracture in the ulnar styloid; fracture in the scaphoid"
    expected = f"Wrist X-ray showing {details}."
    assert text_of(record, Region.WRIST, side=None, view=None) == expected


def test_additional_findings_follow_the_sentence() -> None:
    record = Record(
        bone_quality="osteopenia",
        immobilisation="cast",
        hardware=True,
        findings=(finding("distal_radius", alignment="near_anatomic"),),
        evidence=quotes("bone_quality", "immobilisation", "hardware"),
    )
    expected = (
        "Right wrist X-ray (PA view) showing fracture in the distal radius. Near-anatomic alignment. Cast in place. "
        "Orthopaedic hardware in place. Osteopenia."
    )
    assert text_of(record, Region.WRIST, side="right") == expected


@pytest.mark.parametrize("findings", [(), (finding("ulnar_styloid", "absent"),)])
def test_a_bone_denied_or_unmentioned_shows_no_fracture(findings: tuple[Finding, ...]) -> None:
    record = Record(findings=findings)
    assert text_of(record, Region.ULNAR_STYLOID) == "Ulnar styloid region showing no fracture."
    assert text_of(record, Region.WRIST) == "Left wrist X-ray (PA view) showing no fracture."


def test_labels_are_those_of_the_main_finding_and_null_where_nothing_is_said() -> None:
    record = Record(
        findings=(
            finding("distal_radius"),
            finding("distal_radius", fracture_type="buckle", healing="healing"),
            finding("distal_ulna", "absent"),
        )
    )
    wrist, radius, ulna, styloid = captions(record, "left", "pa")
    assert (radius.presence, radius.fracture_type, radius.healing) == (
        Presence.PRESENT,
        FractureType.BUCKLE,
        Healing.HEALING,
    )
    assert wrist.presence is Presence.PRESENT
    assert ulna.presence is Presence.ABSENT
    assert (styloid.presence, styloid.fracture_type, styloid.healing) == (None, None, None)


def test_an_ungrounded_finding_is_in_no_caption() -> None:
    evidence = (*quotes("region"), *quotes("presence", start=-1))
    loose = Finding(region=Place.DISTAL_RADIUS, presence=Presence.PRESENT, evidence=evidence)
    assert text_of(Record(findings=(loose,)), Region.DISTAL_RADIUS) == "Distal radius region showing no fracture."


@pytest.mark.parametrize("lost", ["fracture_type", "displacement", "healing", "alignment"])
def test_an_ungrounded_value_is_in_no_caption_and_no_label(lost: str) -> None:
    values = {"fracture_type": "buckle", "displacement": "severe", "healing": "healing", "alignment": "poor"}
    whole = finding("distal_radius", **values)
    evidence = tuple(e for e in whole.evidence if e.field != lost) + quotes(lost, start=-1)
    loose = Record(findings=(whole.model_copy(update={"evidence": evidence}),))
    silent = Record(findings=(finding("distal_radius", **{n: v for n, v in values.items() if n != lost}),))
    assert captions(loose, "left", "pa") == captions(silent, "left", "pa")
    assert captions(loose, "left", "pa") != captions(Record(findings=(whole,)), "left", "pa")


@pytest.mark.parametrize("field", ["bone_quality", "immobilisation", "hardware"])
def test_what_no_quote_says_of_the_exam_is_in_no_caption(field: str) -> None:
    said = {"bone_quality": "osteopenia", "immobilisation": "cast", "hardware": True}
    record = Record.model_validate({field: said[field], "evidence": quotes(field, start=-1)})
    assert text_of(record, Region.WRIST) == "Left wrist X-ray (PA view) showing no fracture."


def test_findings_of_the_other_wrist_are_left_out() -> None:
    record = Record(
        side="bilateral",
        findings=(
            finding("distal_radius", side=Side.RIGHT, displacement=Displacement.MILD),
            finding("distal_radius", "absent", side=Side.LEFT),
        ),
    )
    assert text_of(record, Region.DISTAL_RADIUS, side="left") == "Distal radius region showing no fracture."
    assert "mild" in text_of(record, Region.DISTAL_RADIUS, side="right")


def test_a_broken_finger_comes_into_no_caption() -> None:
    record = mine("Left wrist. Fracture of the proximal phalanx of the 5th finger. Distal radius normal.")
    assert text_of(record, Region.WRIST) == "Left wrist X-ray (PA view) showing no fracture."
