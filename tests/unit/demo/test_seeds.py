"""Figures of several seeds, and the gates over them."""

from typing import Any

import pytest

from wristmir_ray.demo.seeds import missed, tabulate


def figures(**changes: float) -> dict[str, Any]:
    gain = changes.pop("gain", 0.2)
    paired = {
        region: {"two_stage_minus_single_stage": {"diagnosis_f1": {"low": gain}}}
        for region in ("distal_radius", "distal_ulna", "ulnar_styloid")
    }
    good = {"roi_map50": 0.99, "bone_map50": 0.97, "findings_micro_f1": 0.98, "cpu_s": 700.0, "peak_gib": 5.0}
    return {
        "wall_s": 400.0,
        "exams": 1600,
        "retrieval": {"paired": paired, "tables": "/here/tables.md"},
        **good,
        **changes,
    }


def test_good_figures_hold_every_gate() -> None:
    table = tabulate({0: figures(), 1: figures()})
    assert missed(table) == []
    assert set(table["seeds"]) == {"0", "1"}
    assert table["environment"]["cores"]
    assert "/here" not in str(table), "no place of a machine is kept"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"roi_map50": 0.97}, "roi_map50"),
        ({"findings_micro_f1": 0.96}, "findings_micro_f1"),
        ({"cpu_s": 901.0}, "cpu_s"),
        ({"peak_gib": 8.1}, "peak_gib"),
    ],
)
def test_one_bad_seed_misses_the_gate(changes: dict[str, float], name: str) -> None:
    assert missed(tabulate({0: figures(), 1: figures(**changes), 2: figures()})) == [name]


def test_a_gain_of_the_second_stage_must_be_sure_for_ulna_and_styloid_and_harmless_for_the_radius() -> None:
    small = ["second stage, distal_ulna", "second stage, ulnar_styloid"]
    assert missed(tabulate({0: figures(gain=-0.01)})) == small
    assert missed(tabulate({0: figures(gain=-0.03)})) == ["second stage, distal_radius", *small]
