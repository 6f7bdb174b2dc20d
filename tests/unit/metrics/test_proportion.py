"""Wilson's interval against published values and its own properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.metrics.proportion import weighted_share, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998) 857, Table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert found.value == successes / n


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_the_interval_holds_the_share_and_mirrors(successes: int, n: int) -> None:
    successes = min(successes, n)
    a, b = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= a.low <= a.value <= a.high <= 1
    assert a.low == pytest.approx(1 - b.high)


def test_no_case_and_impossible_counts() -> None:
    assert wilson(0, 0).as_dict() == {"value": None, "low": 0.0, "high": 1.0, "n": 0}
    with pytest.raises(ValueError, match="3 successes of 2"):
        wilson(3, 2)


def test_weights() -> None:
    hits = np.array([True, False, False, True])
    plain = weighted_share(hits, np.full(4, 7.0))
    assert (plain.value, plain.low, plain.n) == (0.5, pytest.approx(wilson(2, 4).low), 4)
    uneven = weighted_share(hits, np.array([1.0, 1.0, 1.0, 9.0]))
    assert uneven.value == pytest.approx(10 / 12)
    assert uneven.high - uneven.low > plain.high - plain.low - 0.2
    assert weighted_share(np.zeros(0, bool), np.zeros(0)).n == 0
