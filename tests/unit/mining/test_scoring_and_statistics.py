"""Figures: F1 over findings, the paper's Table 3."""

import pytest

from wristmir_ray.mining.scoring import findings_f1
from wristmir_ray.mining.statistics import markdown, table3


def row(region: str, presence: str = "present", kind: str = "buckle", healing: str = "unknown") -> dict[str, str]:
    return {
        "region": region,
        "presence": presence,
        "fracture_type": kind,
        "displacement": "unknown",
        "healing": healing,
    }


def test_f1_counts_whole_tuples_and_doubles() -> None:
    truth = [[row("distal_radius"), row("distal_radius")], [row("distal_ulna", "absent", "unknown")], []]
    found = [[row("distal_radius")], [row("distal_ulna", "absent", "unknown"), row("scaphoid")], [row("ulnar_styloid")]]
    score = findings_f1(found, truth)
    assert (score["tp"], score["fp"], score["fn"]) == (2, 1, 1)
    assert score["f1"] == pytest.approx(2 * 2 / (4 + 2))
    assert score["exact_reports"] == pytest.approx(1 / 3)


def test_a_field_is_scored_by_itself() -> None:
    score = findings_f1([[row("distal_radius", kind="torus")]], [[row("distal_radius")]])
    assert score["f1"] == 0.0
    assert score["fields"]["presence"]["f1"] == 1.0
    assert score["fields"]["fracture_type"]["f1"] == 0.0


def test_a_rejected_report_finds_nothing_and_lengths_must_agree() -> None:
    assert findings_f1([None], [[row("distal_radius")]])["recall"] == 0.0
    assert findings_f1([], [])["f1"] == 1.0
    with pytest.raises(ValueError, match="zip"):
        findings_f1([[]], [])


def test_table3_counts_exams_and_fractures() -> None:
    stats = table3(
        [
            [],
            [row("distal_radius"), row("ulnar_styloid", kind="avulsion", healing="healing")],
            [row("distal_radius", kind="salter_harris_ii"), row("scaphoid")],
        ]
    )
    assert stats["per_case"] == {"0": 1, "1": 1, "2": 1}
    assert (stats["exams"], stats["normal"], stats["positive"], stats["fractures"]) == (3, 1, 2, 3)
    assert stats["location"] == {"distal_radius": 2, "distal_ulna": 0, "ulnar_styloid": 1}
    assert stats["morphology"] == {"avulsion": 1, "buckle": 1, "salter_harris": 1}
    assert stats["healing"] == 1
    assert "| Total examinations | 3 |" in markdown(stats)
