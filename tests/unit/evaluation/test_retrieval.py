"""Evaluation on made-up archives whose right answer is known."""

import json

import numpy as np
import pytest

from tests.unit.evaluation.made_up import FIGURES, archive, figures_of
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.agreement import agreement, agreement_by_chance
from wristmir_ray.evaluation.archive import NO_HIT
from wristmir_ray.evaluation.hits import MODES, retrieve
from wristmir_ray.evaluation.judging import chance_level, judge
from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.search import Mode, search


def test_the_second_stage_gains_what_only_the_bone_shows() -> None:
    figures = figures_of(archive())
    for bone in BONES:
        own = figures["regions"][bone.value]
        assert own["two_stage"]["diagnosis_f1"]["value"] > 0.95
        assert own["single_stage"]["diagnosis_f1"]["value"] < 0.7
        for name in ("diagnosis_f1", "binary_match", "class_match", "vote_accuracy"):
            gain = figures["paired"][bone.value]["two_stage_minus_single_stage"][name]
            assert 0 < gain["low"] < gain["value"] < gain["high"]
    consistency = figures["consistency"]
    assert consistency["distal_radius"]["two_stage"]["same_side_share"]["value"] > 0.9
    assert consistency["distal_radius"]["two_stage_minus_region_only"]["same_side_share"]["low"] > 0.2
    assert abs(consistency["chance"]["same_side_share"]["value"] - 0.5) < 0.1


def test_with_shuffled_labels_every_figure_falls_to_chance() -> None:
    """Of the figures under shuffled labels about 95 % lie in their 95 % range of chance; with true labels few."""

    def share_in_chance(shuffle: bool) -> float:
        inside = []
        for seed in range(6):
            figures = figures_of(archive(exams=150, seed=seed, shuffle=shuffle), shuffles=60)
            for bone in BONES:
                for mode in MODES.values():
                    own = figures["regions"][bone.value][mode]
                    for name in FIGURES:
                        level = own["chance"][name]
                        inside.append(level["low"] <= own[name]["value"] <= level["high"])
        return float(np.mean(inside))

    assert share_in_chance(shuffle=True) > 0.85
    assert share_in_chance(shuffle=False) < 0.5  # single-stage alone sees nothing of these labels


def test_shuffled_labels_leave_no_gain_of_the_second_stage() -> None:
    held = []
    for seed in range(6):
        figures = figures_of(archive(exams=150, seed=seed, shuffle=True), shuffles=20)
        for bone in BONES:
            gain = figures["paired"][bone.value]["two_stage_minus_single_stage"]["binary_match"]
            held.append(gain["low"] <= 0 <= gain["high"])
    assert np.mean(held) > 0.75


def test_chance_is_what_blind_hits_reach() -> None:
    """Shuffling labels under fixed hits gives what random hits give, for an unbalanced label."""
    rng = np.random.default_rng(0)
    n = 200
    present = (rng.random(n) < 0.7).astype(int)
    queries = np.arange(n)
    rows = np.stack([rng.permutation(np.delete(queries, q))[:10] for q in queries])
    level = chance_level(present, present * 2, queries, rows, 200, 0)
    rate = present.mean()
    assert level["binary_match"].value == pytest.approx(rate**2 + (1 - rate) ** 2, abs=0.01)
    assert level["positive_binary_match"].value == pytest.approx(rate, abs=0.01)
    assert level["diagnosis_f1"].low < level["diagnosis_f1"].value < level["diagnosis_f1"].high
    own = judge(present, present * 2, queries, rows).figures()
    assert all(level[name].low - 0.03 <= value <= level[name].high + 0.03 for name, value in own.items())


def test_a_query_never_finds_its_own_patient() -> None:
    world = archive()
    queries = world.rows("test")
    for ranking in retrieve(world, queries, queries, 40, 10).values():
        assert (ranking.rows != NO_HIT).all()
        assert not (world.patients[ranking.rows] == world.patients[queries][:, None]).any()
        assert np.isin(ranking.rows, queries).all()


def test_rankings_are_those_of_the_search_query_by_query() -> None:
    world = archive(missing=0.2)
    queries = world.rows("test")
    rankings = retrieve(world, queries, queries, 30, 10)
    wrists = world.vectors[Region.WRIST][queries]
    lacked = 0
    for bone in BONES:
        bones = world.vectors[bone][queries]
        for q, patient in enumerate(world.patients[queries]):
            vector = None if np.isnan(bones[q, 0]) else bones[q]
            lacked += vector is None
            others = world.patients[queries] != patient
            for mode in MODES:
                hits = search(wrists[q], vector, wrists, bones, mode=mode, pool=30, k=10, allowed_N=others)
                found = rankings[bone, mode]
                assert found.rows[q, : len(hits.rows)].tolist() == queries[hits.rows].tolist()
                assert (found.rows[q, len(hits.rows) :] == NO_HIT).all()
                assert found.fallbacks[q] == hits.fallback
    assert lacked


def test_uncertain_labels_missing_captions_and_bones_are_counted() -> None:
    world = archive()
    queries = world.rows("test")
    radius = Region.DISTAL_RADIUS
    for values in (world.present[radius], world.classes[radius]):
        values[queries[:8]] = -1
    world.captions[radius][queries[:3]] = None
    world.vectors[radius][queries[10:14]] = np.nan
    own = figures_of(world)["regions"]["distal_radius"]
    assert (own["uncertain_excluded"], own["without_caption"]) == (5, 3)
    assert own["queries"] == own["two_stage"]["binary_match"]["n"] == len(queries) - 8
    assert own["query_region_not_found"] == 4
    assert own["positive_queries"] == own["two_stage"]["positive_binary_match"]["n"]


def test_unlabelled_and_missing_hits_neither_match_nor_vote() -> None:
    present = np.array([1, -1, 1, 0, -1, 1])
    classes = np.array([3, -1, 4, 0, -1, 3])
    rows = np.array([[1, 2, 3], [0, 2, 3], [1, 4, NO_HIT], [2, 0, 1], [0, 2, 3]])
    judged = judge(present, classes, np.arange(5), rows)
    assert judged.truth.tolist() == [True, True, False]
    assert judged.shares["binary_match"].tolist() == pytest.approx([0.5, np.nan, 0.0], nan_ok=True)
    assert judged.shares["class_match"].tolist() == pytest.approx([0.0, np.nan, 0.0], nan_ok=True)
    assert judged.shares["vote_accuracy"].tolist() == pytest.approx([0.0, np.nan, 0.0], nan_ok=True)
    assert judged.predicted.tolist() == [False, False, True]


def test_a_bone_that_no_report_mentions_has_no_figures() -> None:
    world = archive(exams=60)
    world.present[Region.DISTAL_ULNA][:] = -1
    world.classes[Region.DISTAL_ULNA][:] = -1
    figures = figures_of(world)
    own = figures["regions"]["distal_ulna"]
    assert own["queries"] == 0
    assert own["two_stage"]["diagnosis_f1"] == {"value": None, "low": None, "high": None, "n": 0}
    json.dumps(figures, allow_nan=False)


def test_an_unknown_side_or_age_is_no_agreement() -> None:
    world = archive(exams=60)
    queries = world.rows("test")
    rows = retrieve(world, queries, queries, 20, 5)[Region.DISTAL_RADIUS, Mode.TWO_STAGE].rows
    draws = Bootstrap(world.patients[queries], 20, 0)
    hits = {"two_stage": rows, "region_only": rows}
    world.sides[queries[0]] = None
    world.ages_years[queries[0]] = np.nan
    for found in (agreement(world, queries, hits, draws)["two_stage"], agreement_by_chance(world, queries, draws)):
        assert found["same_side_share"]["n"] == found["age_gap_years"]["n"] == len(queries) - 1
    world.sides[:] = None
    world.ages_years[:] = np.nan
    for found in (agreement(world, queries, hits, draws)["two_stage"], agreement_by_chance(world, queries, draws)):
        assert found["same_side_share"]["value"] is None
        assert found["age_gap_years"]["value"] is None


def test_chance_of_agreement_equals_averaging_over_the_gallery() -> None:
    world = archive(exams=60)
    queries = world.rows("test")
    same, gaps = [], []
    for q in queries:
        others = [o for o in queries if world.patients[o] != world.patients[q]]
        same.append(np.mean([world.sides[o] == world.sides[q] for o in others]))
        gaps.append(np.mean([abs(world.ages_years[o] - world.ages_years[q]) for o in others]))
    found = agreement_by_chance(world, queries, Bootstrap(world.patients[queries], 20, 0))
    assert found["same_side_share"]["value"] == pytest.approx(np.mean(same), abs=1e-4)
    assert found["age_gap_years"]["value"] == pytest.approx(np.mean(gaps), abs=1e-4)


def test_the_gallery_leaves_the_querys_patient_out() -> None:
    world = archive(exams=60)
    figures = figures_of(world)
    queries = world.rows("test")
    sizes = [int((world.patients[queries] != world.patients[q]).sum()) for q in queries]
    assert figures["gallery"] == pytest.approx(np.mean(sizes), abs=0.05)
    assert figures["pool_share"] == pytest.approx(40 / np.mean(sizes), abs=1e-3)
