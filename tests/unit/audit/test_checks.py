"""Each check on a record that it doubts and on the one it does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.audit.reports import in_whole_sentences
from wristmir_ray.anatomy import Presence, Side
from wristmir_ray.audit.checks import Conflict, Kind, check_record, lost_quotes
from wristmir_ray.audit.exams import CAPTION, CaptionedRegion, check_exams
from wristmir_ray.audit.fabrications import Source
from wristmir_ray.audit.passages import Passages
from wristmir_ray.audit.values import EXAM, values
from wristmir_ray.mining.answers import read_answer
from wristmir_ray.mining.findings import Place, Record
from wristmir_ray.mining.grounding import Locator
from wristmir_ray.mining.rules import mine

REPORT = (
    "Left wrist, PA and lateral views. HISTORY: Known ulnar styloid fracture. "
    "FINDINGS: Mildly displaced transverse fracture of the distal radius with 12 degrees of dorsal angulation. "
    "Possible buckle fracture of the distal ulna. No fracture of the scaphoid. Overlying cast."
)


def finding(region: str, presence: str, /, **said: Any) -> dict[str, Any]:
    """A finding; a value is (value, quote), and the quote is looked for as a model's is."""
    said = {"region": (region, region.replace("_", " ")), "presence": (presence, "fracture"), **said}
    evidence = []
    for name, (_, quote) in said.items():
        span = Locator(REPORT).find(quote) or (-1, -1)
        text = REPORT[slice(*span)] if span[0] >= 0 else quote
        evidence.append({"field": name, "quote": text, "start": span[0], "end": span[1], "section": "findings"})
    return {**{n: v for n, (v, _) in said.items()}, "evidence": evidence}


def doubts(*findings: dict[str, Any], **exam: Any) -> set[tuple[str, Kind]]:
    record = Record.model_validate({"findings": findings, **exam})
    return {(c.field, c.kind) for c in check_record(Passages(REPORT), record, mine(REPORT))}


RADIUS: dict[str, Any] = {"presence": ("present", "transverse fracture of the distal radius")}


def test_a_true_record_is_trusted() -> None:
    details = {
        "side": ("left", "Left"),
        "fracture_type": ("transverse", "transverse"),
        "displacement": ("mild", "Mildly displaced"),
        "angulation_deg": (12, "12 degrees of dorsal angulation"),
        "angulation_direction": ("dorsal", "dorsal angulation"),
    }
    assert doubts(finding("distal_radius", "present", **RADIUS, **details)) == set()
    assert doubts(finding("distal_ulna", "uncertain", presence=("uncertain", "Possible buckle fracture"))) == set()
    assert doubts(finding("scaphoid", "absent", presence=("absent", "No fracture of the scaphoid"))) == set()


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        ({"healing": ("healing", "abundant callus")}, ("healing", Kind.UNGROUNDED)),
        ({"fracture_type": ("buckle", "transverse")}, ("fracture_type", Kind.UNSUPPORTED)),
        ({"healing": ("healing", "Overlying cast")}, ("healing", Kind.UNSUPPORTED)),
        ({"displacement": ("severe", "Mildly displaced")}, ("displacement", Kind.UNSUPPORTED)),
        ({"angulation_deg": (20, "12 degrees")}, ("angulation_deg", Kind.UNSUPPORTED)),
        ({"side": ("right", "Left")}, ("side", Kind.LATERALITY)),
        ({"region": ("distal_radius", "distal ulna")}, ("region", Kind.UNSUPPORTED)),
        ({"presence": ("absent", RADIUS["presence"][1])}, ("presence", Kind.NEGATION)),
        ({"presence": ("uncertain", RADIUS["presence"][1])}, ("presence", Kind.HEDGING)),
        ({"presence": ("present", "No fracture")}, ("presence", Kind.NEGATION)),
        ({"presence": ("present", "Overlying cast")}, ("presence", Kind.UNSUPPORTED)),
        ({"presence": ("present", "Known ulnar styloid fracture")}, ("presence", Kind.HISTORY)),
    ],
)
def test_a_made_up_value_is_doubted(changed: dict[str, Any], doubt: tuple[str, Kind]) -> None:
    presence = changed.get("presence", RADIUS["presence"])
    assert doubt in doubts(finding("distal_radius", presence[0], **{**RADIUS, **changed}))


def test_a_bone_of_which_nothing_is_said_and_one_said_twice() -> None:
    made_up = finding("carpals", "present", region=("carpals", "scaphoid"), **RADIUS)
    assert {("region", Kind.UNREAD), ("region", Kind.UNSUPPORTED)} <= doubts(made_up)
    twice = finding("distal_radius", "present", **RADIUS)
    assert doubts(twice, twice) == {("region", Kind.DOUBLED)}


def test_a_bone_denied_twice_is_doubted_though_the_second_reader_does_the_same() -> None:
    text = "Left wrist. No fracture."
    record = mine(text)
    radius = record.findings[0]
    ulna = radius.model_copy(update={"region": Place.DISTAL_ULNA})
    twice = record.model_copy(update={"findings": (ulna, *record.findings[1:])})
    assert [(c.finding, c.kind) for c in check_record(Passages(text), twice, twice)] == [(1, Kind.DOUBLED)]
    left, right = (radius.model_copy(update={"side": side}) for side in Side)
    both = record.model_copy(update={"side": None, "evidence": (), "findings": (left, right)})
    assert Kind.DOUBLED not in {c.kind for c in check_record(Passages(text), both, both)}


def test_what_a_quote_says_of_another_bone_does_not_count() -> None:
    text = "Avulsion fracture of the ulnar styloid; the distal ulna is intact."
    record = mine(text)
    at = next(i for i, f in enumerate(record.findings) if f.region == "distal_ulna")
    whole = in_whole_sentences(Source(Passages(text), record)).record
    assert check_record(Passages(text), whole, record) == []
    turned = whole.findings[at].model_copy(update={"presence": Presence.PRESENT})
    lie = whole.model_copy(update={"findings": tuple(turned if i == at else f for i, f in enumerate(whole.findings))})
    assert Conflict(at, "presence", Kind.NEGATION) in check_record(Passages(text), lie, lie)


def test_a_value_without_quote_and_a_span_beside_its_quote() -> None:
    bare = {"region": "distal_radius", "presence": "present", "evidence": []}
    assert doubts(bare) == {("region", Kind.UNQUOTED), ("presence", Kind.UNQUOTED)}
    moved = finding("distal_radius", "present", **RADIUS)
    moved["evidence"][1] = {**moved["evidence"][1], "start": 3, "end": 9}
    assert doubts(moved) == {("presence", Kind.SPAN)}
    record = Record.model_validate({"findings": [moved]})
    assert lost_quotes(Passages(REPORT), record) == (2, 1)


def test_the_exams_own_fields() -> None:
    at = REPORT.index("cast")
    evidence = [{"field": "immobilisation", "quote": "cast", "start": at, "end": at + 4, "section": "findings"}]
    assert doubts(immobilisation="cast", evidence=evidence) == set()
    assert doubts(immobilisation="none", evidence=evidence) == {("immobilisation", Kind.NEGATION)}
    assert doubts(immobilisation="splint", evidence=evidence) == {("immobilisation", Kind.UNSUPPORTED)}


@pytest.mark.parametrize(
    "text",
    [
        "R DRF, transverse. Otherwise no fracture.",
        "The distal radius is fractured but the distal ulna is not.",
        "The distal ulna is fractured. So is the distal radius.",
        "Right wrist.\nFindings:\nDistal radius: buckle fracture.\nDistal ulna: nil.\nUlnar styloid: likewise.",
        "Right wrist. Findings: fractured radius; ulna - buckle; styloid - nil.",
        "No displacement of the Salter-Harris II fracture of the distal radius.",
    ],
)
def test_what_the_rules_read_they_do_not_doubt(text: str) -> None:
    record = mine(text)
    assert record.findings
    assert check_record(Passages(text), record, record) == []
    whole = in_whole_sentences(Source(Passages(text), record)).record
    assert check_record(Passages(text), whole, record) == []


def test_an_echo_says_what_it_repeats() -> None:
    text = "The distal radius is fractured but the distal ulna is not."
    ulna = next(f for f in mine(text).findings if f.region == "distal_ulna")
    lie = Record(findings=(ulna.model_copy(update={"presence": Presence.PRESENT}),))
    assert ("presence", Kind.NEGATION) in {(c.field, c.kind) for c in check_record(Passages(text), lie, lie)}


def exam(region: str, caption: str, presence: str | None = None, laterality: str = "left") -> CaptionedRegion:
    return CaptionedRegion(laterality, region, caption, presence)


def test_metadata_and_captions_against_the_report() -> None:
    read = mine(REPORT)
    good = [
        exam("wrist", "Left wrist X-ray (PA view) showing transverse fracture in the distal radius."),
        exam("distal_radius", "Distal radius region showing transverse fracture in the distal radius.", "present"),
        exam("ulnar_styloid", "Ulnar styloid region showing no fracture."),
        CaptionedRegion("left", None, None, None),
    ]
    assert check_exams(read, read, good) == []
    other = [exam("wrist", "Right wrist X-ray showing no fracture.", "absent", "right")]
    kinds = {(c.field, c.kind) for c in check_exams(read, read, other)}
    assert kinds == {("side", Kind.METADATA), (CAPTION, Kind.LATERALITY)}
    denies = exam("distal_radius", "Distal radius region showing no fracture.", "absent")
    assert check_exams(read, read, [denies]) == [Conflict(EXAM, CAPTION, Kind.NEGATION)]
    swapped = exam("wrist", "Right wrist X-ray showing no fracture.")
    assert Conflict(EXAM, CAPTION, Kind.METADATA) in check_exams(read, read, [swapped])


@given(st.text(max_size=300), st.text(min_size=1, max_size=20))
def test_any_text_can_be_checked(text: str, quote: str) -> None:
    record = mine(REPORT)
    assert isinstance(check_record(Passages(text), record, record), list)
    assert Passages(text).at(0, len(quote)).section


def test_values_are_what_is_stated() -> None:
    stated = [(v.finding, v.field, v.words) for v in values(mine(REPORT))]
    assert (EXAM, "side", "left") in stated
    assert (0, "angulation_deg", "12 °") in stated
    assert not any(words == "unknown" for _, _, words in stated)


def test_a_models_lie_is_doubted() -> None:
    import json

    from tests.scripted_endpoint import answer, report, said

    text = report(1)
    lie = json.dumps(answer(healing=said("healing", "abundant callus")))
    record = read_answer(lie, "stop", text)
    assert [(c.field, c.kind) for c in check_record(Passages(text), record, mine(text))] == [
        ("healing", Kind.UNGROUNDED)
    ]
