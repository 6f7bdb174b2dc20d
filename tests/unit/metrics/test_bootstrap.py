"""The bootstrap against drawing by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.metrics.matching import f1_score


def _by_hand(groups: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    """Return the queries of each draw, patient after patient."""
    names = np.unique(groups)
    rng = np.random.default_rng(seed)
    drawn = [rng.integers(0, len(names), len(names)) for _ in range(draws)]
    return [np.concatenate([np.flatnonzero(groups == names[g]) for g in draw]) for draw in drawn]


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 8))
def test_every_figure_equals_resampling_by_hand(seed: int, queries: int, patients: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.array([f"p{i}" for i in rng.integers(0, patients, queries)])
    values = rng.normal(size=queries)
    gaps = np.where(rng.random(queries) < 0.2, np.nan, values)
    truth, predicted = rng.random(queries) < 0.5, rng.random(queries) < 0.5
    draws = Bootstrap(groups, 70, seed)
    by_hand = _by_hand(groups, 70, seed)
    medians = [np.median(values[at]) for at in by_hand]
    assert draws.median(values).draws == pytest.approx(medians)
    assert draws.median(values).value == pytest.approx(np.median(values))
    assert draws.f1(truth, predicted).draws == pytest.approx([f1_score(truth[at], predicted[at]) for at in by_hand])
    assert draws.f1(truth, predicted).value == pytest.approx(f1_score(truth, predicted))
    means = [gaps[at][~np.isnan(gaps[at])] for at in by_hand]
    expected = [m.mean() if len(m) else np.nan for m in means]
    assert draws.mean(gaps).draws == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert draws.mean(gaps).n == int((~np.isnan(gaps)).sum())


def test_a_difference_is_paired() -> None:
    """Two figures that move together differ by a constant: no draw may blur it."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=100)
    draws = Bootstrap(np.arange(100), 200, 0)
    gap = draws.mean(values + 0.1) - draws.mean(values)
    assert gap.as_dict() == {"value": 0.1, "low": 0.1, "high": 0.1, "n": 100}
    assert draws.mean(values).as_dict()["high"] - draws.mean(values).as_dict()["low"] > 0.2


def test_few_patients_with_many_exams_are_no_large_sample() -> None:
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 50)
    values = rng.normal(size=20)[patients]
    by_patient, by_exam = (Bootstrap(g, 400, 0).mean(values).as_dict() for g in (patients, np.arange(1000)))
    assert by_patient["high"] - by_patient["low"] > 4 * (by_exam["high"] - by_exam["low"])


def test_nothing_to_judge_is_null_and_not_zero() -> None:
    nothing = {"value": None, "low": None, "high": None, "n": 0}
    empty = Bootstrap(np.array([], str), 10, 0)
    none = np.array([], float)
    for figure in (empty.mean(none), empty.median(none), empty.f1(none.astype(bool), none.astype(bool))):
        assert figure.as_dict() == nothing
    assert Bootstrap(np.arange(3), 10, 0).mean(np.full(3, np.nan)).as_dict() == nothing


def test_an_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(200):
        found = Bootstrap(np.arange(60), 200, trial).mean(rng.normal(size=60)).as_dict()
        held += found["low"] <= 0 <= found["high"]
    assert 0.88 <= held / 200 <= 0.99
