"""Figures against counting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.metrics.matching import diagnosis, f1_score, majority_vote, match_share, mean_gap
from wristmir_ray.metrics.ranking import expected_rank, rank_bounds, recall_at, reciprocal_rank


@given(st.lists(st.integers(0, 2), min_size=2, max_size=5), st.integers(0, 4), st.integers(1, 6))
def test_ties_are_resolved_in_expectation(values: list[int], correct: int, k: int) -> None:
    """The closed forms equal the mean over every order in which equal scores could stand."""
    correct %= len(values)
    ranks = []
    for order in itertools.permutations(range(len(values))):
        shuffled = sorted(order, key=lambda i: -values[i])
        ranks.append(shuffled.index(correct) + 1)
    ranks_N = np.asarray(ranks, float)
    higher, equal = rank_bounds(np.asarray([values], float), np.asarray([correct]))
    assert recall_at(higher, equal, k)[0] == pytest.approx((ranks_N <= k).mean())
    assert expected_rank(higher, equal)[0] == pytest.approx(ranks_N.mean())
    assert reciprocal_rank(higher, equal)[0] == pytest.approx((1 / ranks_N).mean())


def test_copies_stand_for_equal_captions() -> None:
    scores = np.array([[0.5, 0.9, 0.1]])
    repeated = np.array([[0.5, 0.9, 0.9, 0.9, 0.1]])
    merged = rank_bounds(scores, np.array([0]), np.array([1, 3, 1]))
    assert [int(x[0]) for x in merged] == [int(x[0]) for x in rank_bounds(repeated, np.array([0]))]


def test_a_caption_without_a_score_has_no_rank() -> None:
    with pytest.raises(ValueError, match="not a number"):
        rank_bounds(np.array([[0.5, np.nan]]), np.array([1]))


@given(st.integers(0, 2**32))
def test_recall_grows_with_k(seed: int) -> None:
    rng = np.random.default_rng(seed)
    higher, equal = rank_bounds(rng.integers(0, 4, (6, 9)).astype(float), rng.integers(0, 9, 6))
    curve = [recall_at(higher, equal, k).mean() for k in range(1, 10)]
    assert all(a <= b for a, b in itertools.pairwise(curve))
    assert curve[-1] == 1.0


def test_matching_leaves_unlabelled_hits_out() -> None:
    hits = np.array([[1, 1, -1, 0], [-1, -1, -1, -1]])
    assert match_share(np.array([1, 1]), hits)[0] == pytest.approx(2 / 3)
    assert np.isnan(match_share(np.array([1, 1]), hits)[1])
    assert diagnosis(hits).tolist() == [True, False]


def test_votes_go_to_the_commonest_then_to_the_better_hit() -> None:
    hits = np.array([[0, 2, 2, 1], [1, 0, 0, 1], [-1, 2, -1, -1], [-1, -1, -1, -1]])
    assert majority_vote(hits, 3).tolist() == [2, 1, 2, -1]


def test_half_of_the_hits_is_not_a_diagnosis() -> None:
    assert diagnosis(np.array([[1, 0], [1, 1]])).tolist() == [False, True]


def test_f1() -> None:
    truth, predicted = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert f1_score(truth, predicted) == 0.5
    assert f1_score(~truth & truth, predicted & ~predicted) == 0.0


@given(st.integers(0, 2**32))
def test_votes_equal_counting(seed: int) -> None:
    hits = np.random.default_rng(seed).integers(-1, 4, (5, 6))
    for row, winner in zip(hits.tolist(), majority_vote(hits, 4).tolist(), strict=True):
        labels = [h for h in row if h != -1]
        expected = max(set(labels), key=lambda x: (labels.count(x), -row.index(x))) if labels else -1
        assert winner == expected


def test_gaps_are_over_the_known_hits() -> None:
    hits = np.array([[1.0, np.nan, 5.0], [np.nan, np.nan, np.nan], [1.0, 2.0, 3.0]])
    gaps = mean_gap(np.array([2.0, 2.0, np.nan]), hits)
    assert gaps[0] == 2.0
    assert np.isnan(gaps[1:]).all()
