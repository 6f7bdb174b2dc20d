"""AP50 and what goes with it, on cases small enough to count by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.detection.metrics import (
    Ranked,
    at_threshold,
    average_precision,
    best_of_each,
    best_threshold,
    f1_standard_error,
    rank,
    score,
    typical_score,
)
from wristmir_ray.models.detector import Detection

A, B = Box(0, 0, 10, 10), Box(50, 50, 60, 60)
W = Region.WRIST


def found(*boxes: tuple[Box, float]) -> list[Detection]:
    return [Detection(W, box, score) for box, score in boxes]


def ranked(scores: list[float], hits: list[int], num_truth: int) -> Ranked:
    return Ranked(np.array(scores), np.array(hits, bool), num_truth)


def test_a_true_box_is_hit_once_and_by_the_better_score() -> None:
    r = rank([found((A, 0.5), (A.shift(1, 0), 0.9))], [{W: [A]}], W)
    assert r.scores.tolist() == [0.9, 0.5]
    assert r.hits.tolist() == [True, False]
    assert r.num_truth == 1


def test_half_an_overlap_is_needed() -> None:
    r = rank([found((A.shift(3, 0), 0.9), (B.shift(4, 0), 0.8))], [{W: [A, B]}], W)
    assert r.hits.tolist() == [True, False]  # IoU 7/13 and 6/14


def test_other_regions_and_other_images_do_not_count() -> None:
    ulna = [Detection(Region.DISTAL_ULNA, A, 0.9)]
    assert rank([ulna, found((A, 0.5))], [{W: [A]}, {W: [B]}], W).hits.tolist() == [False]


def test_what_true_boxes_score_is_their_median() -> None:
    images = [found((A, 0.2), (B, 0.95)), found((A, 0.6)), found((A, 0.9))]
    assert typical_score(images, [{W: [A]}] * 3, W) == 0.6, "the box beside the bone does not count"
    assert typical_score([[]], [{W: [A]}], W) == 1


def test_average_precision_by_hand() -> None:
    assert average_precision(ranked([0.9, 0.8], [1, 1], 2)) == 1.0
    assert average_precision(ranked([], [], 3)) == 0.0
    assert average_precision(ranked([0.9], [1], 2)) == pytest.approx(51 / 101)  # recall levels 0 to .50
    # hit, miss, hit of two: precision 1 up to recall .5, then 2/3
    assert average_precision(ranked([0.9, 0.8, 0.7], [1, 0, 1], 2)) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert math.isnan(average_precision(ranked([0.9], [0], 0)))


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 10))
def test_average_precision_is_a_share_and_grows_with_a_hit(hits: list[bool], missed: int) -> None:
    scores = np.linspace(0.9, 0.1, len(hits))
    num_truth = sum(hits) + missed
    if not num_truth:
        return
    value = average_precision(Ranked(scores, np.array(hits, bool), num_truth))
    assert 0 <= value <= 1
    for i in [i for i, h in enumerate(hits) if not h][:missed]:
        better = np.array(hits, bool)
        better[i] = True
        assert average_precision(Ranked(scores, better, num_truth)) >= value


def test_precision_recall_f1_at_a_score() -> None:
    r = ranked([0.9, 0.6, 0.3], [1, 0, 1], 4)
    assert at_threshold(r, 0.5) == (0.5, 0.25, pytest.approx(1 / 3))
    assert at_threshold(r, 0.95) == (0.0, 0.0, 0.0)


def test_best_threshold_lies_between_hits_and_misses() -> None:
    low_scores = ranked([0.08, 0.06, 0.02], [1, 1, 0], 2)
    threshold = best_threshold(low_scores)
    assert 0.02 < threshold < 0.06
    assert at_threshold(low_scores, threshold) == (1.0, 1.0, 1.0)


def test_the_threshold_is_low_where_absent_regions_say_how_low() -> None:
    r = ranked([0.8, 0.5, 0.1], [1, 1, 0], 2)
    assert 0.1 < best_threshold(r, some_absent=True) < 0.105
    assert 0.2 < best_threshold(r) < 0.25
    truth = [{W: [A]}, {W: [A]}, {W: []}]
    detections = [found((A, 0.8)), found((A, 0.5)), found((A, 0.1))]
    assert score(detections, truth, (W,))[W]["threshold"] == best_threshold(r, some_absent=True)
    assert score(detections[:2], truth[:2], (W,))[W]["threshold"] < 0.1


def test_a_plateau_may_lose_less_than_an_image() -> None:
    lost = ranked([*[0.9] * 999, 0.3], [1] * 1000, 1000)
    assert best_threshold(lost, some_absent=True) == pytest.approx(0.01)
    assert 0.999 < at_threshold(lost, 0.5)[2] < 1
    one_in_a_hundred = ranked([*[0.9] * 99, 0.3, *[0.2] * 3], [1] * 100 + [0] * 3, 100)
    assert 0.2 < best_threshold(one_in_a_hundred, some_absent=True) < 0.22


def test_the_standard_error_of_f1_is_that_of_repeated_validations() -> None:
    rng = np.random.default_rng(0)
    hits, errors = rng.poisson(160, 20_000), rng.poisson(15, 20_000)
    spread = np.std(2 * hits / (2 * hits + errors))
    r = ranked([0.9] * 170, [1] * 160 + [0] * 10, 165)
    assert f1_standard_error(r, 0.5) == pytest.approx(spread, rel=0.05)
    assert f1_standard_error(r, 0.95) == 0


def test_a_flat_curve_gives_its_lowest_score_whatever_single_images_say() -> None:
    """From .1 to .4 F1 goes up and down by an image or two; its top, at .4, is no better than .1."""
    scores = [*[0.8] * 160, 0.42, 0.4, *[0.38] * 2, 0.3, *[0.2] * 2, 0.15, 0.12, *[0.05] * 20]
    hits = [*[1] * 160, 1, 1, 0, 0, 1, 0, 0, 1, 1, *[0] * 20]
    flat = ranked(scores, hits, 175)
    at = [at_threshold(flat, t)[2] for t in (0.04, 0.1, 0.4)]
    assert at[2] > at[1] > at[2] - f1_standard_error(flat, 0.4) > at[0]
    assert 0.05 < best_threshold(flat, some_absent=True) < 0.06
    few = ranked([0.9, 0.3], [1, 0], 2)
    assert f1_standard_error(few, 0.9) > 0.1
    assert 0.3 < best_threshold(few, some_absent=True) < 0.32, "a third of F1 is not given up, whatever its error"


def test_preprocess_takes_one_box_a_region() -> None:
    radius = Detection(Region.DISTAL_RADIUS, B, 0.1)
    assert best_of_each([[*found((A, 0.5), (B, 0.7)), radius], []]) == [[*found((B, 0.7)), radius], []]


def test_score_names_regions_and_their_mean() -> None:
    truth = [{Region.DISTAL_RADIUS: [A], Region.DISTAL_ULNA: [B]}]
    detections = [[Detection(Region.DISTAL_RADIUS, A, 0.9)]]
    figures = score(detections, truth, (Region.DISTAL_RADIUS, Region.DISTAL_ULNA))
    threshold = figures["distal_radius"].pop("threshold")
    assert 0 < threshold < 0.9
    assert figures["distal_radius"] == {"precision": 1, "recall": 1, "f1": 1, "map50": 1, "boxes": 1}
    assert figures["distal_ulna"]["map50"] == 0
    assert figures["overall"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "map50": 0.5, "boxes": 2}


def test_a_second_box_costs_average_precision_but_not_the_precision_of_the_best() -> None:
    twice = found((A, 0.9), (A.shift(0, 1), 0.8))
    figures = score([found((B, 0.95)), twice, found((A, 0.1))], [{W: [A]}] * 3, (W,))[W]
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 3)
    assert figures["map50"] == pytest.approx((67 * 0.5) / 101)


def test_a_region_without_true_boxes_is_not_in_the_mean() -> None:
    figures = score([found((A, 0.9))], [{W: [A]}], (W, Region.ULNAR_STYLOID))
    assert figures["overall"]["map50"] == 1
