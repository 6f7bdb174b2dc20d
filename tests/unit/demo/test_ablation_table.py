"""The ablation's table: means over seeds, spread over seeds, intervals by patient, differences by seed."""

from typing import Any

import pytest

from wristmir_ray.anatomy import BONES
from wristmir_ray.demo.ablation import VARIANTS
from wristmir_ray.demo.ablation_table import MATCH, POOLED, RANK, RECALL, markdown, tabulate


def evaluation(match: float, recall: float, rank: float) -> dict[str, Any]:
    """Return the part of an evaluation that is tabulated; each interval is 0.1 (ranks: 2) either side."""

    def figure(value: float, half: float = 0.1) -> dict[str, float]:
        return {"value": value, "low": value - half, "high": value + half, "n": 9}

    text = {"merged": {"recall@5": figure(recall), "mean_rank": figure(rank, 2.0)}}
    bone = {"two_stage": {"binary_match": figure(match), "positive_binary_match": figure(match / 2)}}
    return {
        "regions": {b.value: bone for b in BONES},
        "image_to_text": {**text, "by_region": {b.value: text for b in BONES}},
    }


def runs() -> list[dict[str, Any]]:
    of = {("a", 0): (0.8, 0.5, 10), ("a", 1): (0.9, 0.6, 14), ("b", 0): (0.5, 0.5, 20), ("b", 1): (0.7, 0.4, 30)}
    kept = {"steps": 5, "train_pairs": 7, "best_epoch": 2, "encoder": "run", "seconds": 1.0, "skipped": False}
    return [{"variant": v, "seed": s, **kept, "figures": evaluation(*f)} for (v, s), f in of.items()]


def test_means_spreads_and_differences_are_those_of_the_seeds() -> None:
    table = tabulate(runs(), {"a": "first", "b": "second"})
    radius = table["variants"]["a"]["figures"][MATCH]["distal_radius"]
    assert (radius["mean"], radius["min"], radius["max"]) == (pytest.approx(0.85), 0.8, 0.9)
    assert radius["patients"] == pytest.approx(0.1)
    assert [s["value"] for s in radius["seeds"]] == [0.8, 0.9]
    assert table["variants"]["b"]["figures"][RANK][POOLED]["mean"] == 25
    assert table["differences"].keys() == {"b"}
    gap = table["differences"]["b"][MATCH]["ulnar_styloid"]
    assert (gap["mean"], gap["min"], gap["max"]) == tuple(map(pytest.approx, (-0.25, -0.3, -0.2)))
    assert table["differences"]["b"][RECALL][POOLED]["mean"] == pytest.approx(-0.1)
    assert "figures" not in table["runs"][0]


def test_the_page_has_every_variant_and_says_what_it_is_over() -> None:
    found = tabulate(runs(), {"a": "first", "b": "second"})
    cost = {"cpu_s": 12.0, "wall_s": 9.0, "peak_gib": 1.0}
    page = markdown({"exams": 40, "seeds": [0, 1], "epochs": 2, "cost": cost, **found})
    assert "Phantom figures: 40 synthetic exams, one archive, training seeds 0, 1." in page
    assert "| first | 0.850 [0.800, 0.900] ± 0.100 |" in page
    assert "| difference: second | -0.250 [-0.300, -0.200] |" in page
    assert "| second | 25.0 [20.0, 30.0] ± 2.0 |" in page


def test_a_bone_that_was_never_found_has_no_figure() -> None:
    found = runs()
    for run in found:
        del run["figures"]["image_to_text"]["by_region"]["ulnar_styloid"]
    table = tabulate(found, {"a": "first", "b": "second"})
    assert table["variants"]["a"]["figures"][RECALL]["ulnar_styloid"]["mean"] is None
    assert table["differences"]["b"][RANK]["ulnar_styloid"]["max"] is None
    page = markdown({"exams": 1, "seeds": [0], "epochs": 1, "cost": {"cpu_s": 1, "wall_s": 1}, **table})
    assert "- [-, -] ± - |" in page


def test_variants_differ_from_the_first_in_one_thing() -> None:
    names = [v.name for v in VARIANTS]
    assert len(set(names)) == len(names)
    assert not VARIANTS[0].settings
    assert all(len(v.settings) == 1 for v in VARIANTS[1:])
    assert [v.name for v in VARIANTS if v.equal_steps] == ["global_only_steps"]
