"""What others claim within the text is no finding; what this exam says of the same fracture is."""

import pytest

from wristmir_ray.mining.rules import mine


def read(text: str) -> list[tuple[str, str]]:
    return [(f.region.value, f.presence.value) for f in mine(f"Left wrist. {text}").findings]


@pytest.mark.parametrize(
    "claim",
    [
        "The referring hospital suspected a buckle fracture of the distal radius.",
        "A buckle fracture of the distal radius was called on the initial films.",
        "Per the ED physician read, buckle fracture of the distal radius.",
        "According to the transfer note there was a fracture of the distal radius.",
        "Films from the clinic dated 14 Feb are said to show a fracture of the distal radius.",
        "Outside radiographs from 3 May raised a buckle fracture of the distal radius.",
        "The outside report of a fracture of the distal radius may refer to the other wrist.",
        "Bedside ultrasound was interpreted as a fracture of the distal radius.",
        "No fracture of the distal radius had been found on the outside radiographs.",
        "Second opinion on a suspected fracture of the distal radius.",
    ],
)
def test_a_claim_of_others_is_no_finding(claim: str) -> None:
    assert read(f"{claim} The distal ulna is intact.") == [("distal_ulna", "absent")]
    assert read(f"{claim} The distal radius is intact.") == [("distal_radius", "absent")]


@pytest.mark.parametrize(
    "text",
    [
        "The distal radius (outside exam 25 June: torus fracture) is intact.",
        "The distal radius, in which the referring hospital had suspected a fracture, shows no fracture.",
        "Ulna intact. The distal radius -- reported as fractured on the 3rd of April -- without fracture.",
        "Despite the buckle fracture reported on outside radiographs, the distal radius is intact.",
    ],
)
def test_an_aside_is_told_apart_from_its_sentence(text: str) -> None:
    assert ("distal_radius", "absent") in read(text)
    assert ("distal_radius", "present") not in read(text)


def test_a_report_that_tells_nothing_else_tells_it_of_itself() -> None:
    assert read("Films taken in the emergency department showed a fracture of the distal radius.") == [
        ("distal_radius", "present")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "The fracture of the distal radius described on the outside films is healing.",
        "The fracture of the distal radius noted on the previous study has united.",
        "The previously described fracture of the distal radius is again seen.",
        "Fracture of the distal radius, known from the previous study, with callus.",
        "Radiographs showed a fracture of the distal radius.",
        "ED READ: fracture of the distal radius.",
        "A fracture of the distal radius is seen on today's views, as described by the referring hospital.",
    ],
)
def test_what_is_said_of_today_is_no_hearsay(text: str) -> None:
    assert read(text) == [("distal_radius", "present")]
