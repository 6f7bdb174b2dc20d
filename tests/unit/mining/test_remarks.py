"""What is stated beside fractures: ossification and other findings."""

import pytest

from wristmir_ray.mining.findings import Ossification, Other
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.vocabulary import read_terms

SWELLING, EFFUSION, DISLOCATION = "soft_tissue_swelling", "effusion", "dislocation"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Mild soft tissue swelling over the distal radius.", [SWELLING]),
        ("Soft-tissue swelling dorsally. No joint effusion.", [SWELLING]),
        ("The soft tissues are mildly swollen.", [SWELLING]),
        ("No fracture. Soft tissue swelling noted.", [SWELLING]),
        ("No fracture, mild soft tissue swelling.", [SWELLING]),
        ("No fracture, soft tissue swelling is noted.", [SWELLING]),
        ("No fracture but there is soft tissue swelling and a joint effusion.", [SWELLING, EFFUSION]),
        ("No fracture with soft tissue swelling dorsally.", [SWELLING]),
        ("No fracture, dislocation, or foreign body.", []),
        ("No fracture, no dislocation, no effusion.", []),
        ("No fracture, dislocation, effusion.", []),
        ("No displaced fracture, significant swelling or dislocation.", []),
        ("Without dislocation or soft tissue swelling.", []),
        ("Soft tissue swelling has resolved.", []),
        ("Interval resolution of the soft tissue swelling.", []),
        ("A joint effusion is not seen.", []),
        ("Effusion: none. Dislocation: no.", []),
        ("Possible joint effusion.", []),
        ("A joint effusion cannot be excluded.", []),
        ("The prior study showed soft tissue swelling.", []),
        ("Compared with the prior study there is now soft tissue swelling.", [SWELLING]),
        ("Follow-up if swelling persists.", []),
        ("Dorsal dislocation of the distal ulna at the DRUJ.", [DISLOCATION]),
        ("Galeazzi fracture of the radius.", [DISLOCATION]),
        ("DRUJ widening. 2 mm of positive ulnar variance.", [DISLOCATION, "positive_ulnar_variance"]),
        ("Ulna minus variance.", ["negative_ulnar_variance"]),
        ("Elevation of the pronator quadratus fat pad.", ["fat_pad_sign"]),
        ("The pronator quadratus fat pad is displaced.", ["fat_pad_sign"]),
        ("The pronator quadratus fat pad is not displaced.", []),
        ("Radiopaque foreign body in the palm.", ["foreign_body"]),
        ("Incidental non-ossifying fibroma of the distal radius.", ["bone_lesion"]),
        ("No suspicious osseous lesion.", []),
        ("Premature physeal closure of the distal radius.", ["growth_arrest"]),
        ("Growth arrest lines are noted.", []),
        ("Metaphyseal fraying and cupping, in keeping with rickets.", ["rachitic_change"]),
        ("Madelung deformity.", ["madelung_deformity"]),
        ("Carpal erosions.", ["arthropathy"]),
        ("Soft tissue sweling over the ulna.", [SWELLING]),
    ],
)
def test_other_findings(text: str, other: list[str]) -> None:
    report = f"Left wrist. {text}"
    record = mine(report)
    assert [o.value for o in record.other] == sorted(other, key=[o.value for o in Other].index)
    quoted = [e for e in record.evidence if e.field == "other"]
    assert len(quoted) >= len(other)
    assert all(report[e.start : e.end] == e.quote for e in quoted)


@pytest.mark.parametrize(
    ("text", "ossification"),
    [
        ("Ossification is normal for age.", "normal"),
        ("Normal ossification centers.", "normal"),
        ("Bone age is appropriate for chronological age.", "normal"),
        ("Carpal ossification is delayed.", "delayed"),
        ("Bone age is markedly delayed for chronological age.", "delayed"),
        ("Advanced bone age.", "advanced"),
        ("Small ossicle at the tip of the ulnar styloid.", "variant"),
        ("Accessory ossification centre of the ulnar styloid.", "variant"),
        ("No accessory ossicle.", None),
        ("Ossicle versus fracture of the ulnar styloid.", None),
        ("Normal ossification. An os triangulare is noted.", "variant"),
        ("Fracture with delayed ossification of the callus.", None),
        ("No evidence of delayed bone age.", None),
    ],
)
def test_ossification(text: str, ossification: str | None) -> None:
    record = mine(f"Left wrist. {text}")
    assert record.ossification == ossification
    assert len([e for e in record.evidence if e.field == "ossification"]) == (ossification is not None)


def test_what_the_history_claims_is_not_seen() -> None:
    record = mine("INDICATION: Swelling, delayed bone age.\nFINDINGS: Buckle fracture of the distal radius.")
    assert (record.other, record.ossification) == ((), None)


def test_every_value_has_its_words() -> None:
    worded = {(t.kind, t.value) for t, _ in read_terms("remarks.csv")}
    assert {("other", o.value) for o in Other} <= worded
    assert {("ossification", o.value) for o in Ossification} <= worded
