"""AUROC and average precision against scikit-learn, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from wristmir_ray.metrics.classification import auroc, average_precision


@given(st.integers(0, 2**32), st.integers(2, 60), st.sampled_from([3, 1000]))
def test_figures_equal_those_of_scikit_learn(seed: int, n: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    truth, likely = rng.random(n) < 0.4, rng.integers(0, levels, n) / levels
    truth[:2] = True, False
    assert auroc(truth, likely) == pytest.approx(roc_auc_score(truth, likely))
    assert average_precision(truth, likely) == pytest.approx(average_precision_score(truth, likely))


def test_one_class_has_no_figure() -> None:
    likely = np.array([0.1, 0.9])
    assert np.isnan(auroc(np.array([True, True]), likely))
    assert np.isnan(average_precision(np.array([False, False]), likely))


def test_a_score_without_information_is_chance() -> None:
    truth = np.array([True, False, False, False])
    assert auroc(truth, np.zeros(4)) == 0.5
    assert average_precision(truth, np.zeros(4)) == 0.25
