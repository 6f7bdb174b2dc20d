"""Percentile bootstrap by patient: a patient's exams are drawn together, or not at all."""

from dataclasses import dataclass
from typing import Self

import numpy as np

CHUNK = 64
"""Draws whose medians are taken at a time: bounds memory, not the result."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Queries it is over."""

    def as_dict(self) -> dict[str, float | int | None]:
        """Return plain data, rounded to what the sample can bear; null where there is no figure."""
        return {"value": _plain(self.value), "low": _plain(self.low), "high": _plain(self.high), "n": self.n}


def percentiles(value: float, draws_B: np.ndarray, n: int) -> Interval:
    """Return an estimate with the 2.5th and 97.5th percentile of its draws; NaN draws are left out."""
    known = draws_B[~np.isnan(draws_B)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return Interval(value, float(low), float(high), n)


@dataclass(frozen=True)
class Sampled:
    """A figure on the sample and on each draw. Two of one Bootstrap subtract draw by draw: paired."""

    value: float
    draws: np.ndarray
    """(B,) float; NaN where the draw holds nothing to judge."""
    n: int

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.value - other.value, self.draws - other.draws, min(self.n, other.n))

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the figure and its 95 % interval as plain data."""
        return percentiles(self.value, self.draws, self.n).as_dict()


class Bootstrap:
    """Draws of groups (patients) with replacement; every figure is computed on the same draws.

    A mean or an F1 is a ratio of sums over queries, thus of sums over groups: all draws at once are
    one matrix product.

    Args:
        groups_Q: (Q,) group of each query.
        num_draws: how many.
        seed: same seed and groups, same draws.
    """

    def __init__(self, groups_Q: np.ndarray, num_draws: int, seed: int) -> None:
        names, self._group_Q = np.unique(groups_Q, return_inverse=True)
        rng = np.random.default_rng(seed)
        count = len(names)
        self._counts_BG = np.zeros((num_draws, count), np.float32)
        for b in range(num_draws if count else 0):
            self._counts_BG[b] = np.bincount(rng.integers(0, count, count), minlength=count)

    def mean(self, values_Q: np.ndarray) -> Sampled:
        """Return the mean of (Q,) values; NaN queries have none and are left out."""
        known_Q = ~np.isnan(values_Q)
        value, draws_B = self._ratio(np.where(known_Q, values_Q, 0.0), known_Q)
        return Sampled(value, draws_B, int(known_Q.sum()))

    def f1(self, truth_Q: np.ndarray, predicted_Q: np.ndarray) -> Sampled:
        """Return F1 of the positive class from (Q,) bools; 0 where nothing is positive or predicted so."""
        both_Q = 2.0 * (truth_Q & predicted_Q)
        value, draws_B = self._ratio(both_Q, truth_Q.astype(float) + predicted_Q)
        if not len(truth_Q):
            return Sampled(np.nan, draws_B, 0)
        return Sampled(float(np.nan_to_num(value)), np.nan_to_num(draws_B), len(truth_Q))

    def median(self, values_Q: np.ndarray) -> Sampled:
        """Return the median of (Q,) values; of an even number, the mean of the middle two."""
        if not len(values_Q):
            return Sampled(np.nan, np.full(len(self._counts_BG), np.nan), 0)
        order = np.argsort(values_Q, kind="stable")
        draws = [
            _medians(values_Q[order], self._counts_BG[i : i + CHUNK, self._group_Q[order]])
            for i in range(0, len(self._counts_BG), CHUNK)
        ]
        return Sampled(float(np.median(values_Q)), np.concatenate(draws), len(values_Q))

    def _ratio(self, numerator_Q: np.ndarray, denominator_Q: np.ndarray) -> tuple[float, np.ndarray]:
        """Return sum of numerators / sum of denominators, on the sample and on each draw; NaN for 0 / 0."""
        groups = self._counts_BG.shape[1]
        sums_G2 = np.stack([np.bincount(self._group_Q, v, groups) for v in (numerator_Q, denominator_Q)], 1)
        drawn_B2 = self._counts_BG @ sums_G2
        total_2 = sums_G2.sum(0)
        with np.errstate(invalid="ignore"):
            return float(np.divide(total_2[0], total_2[1])), drawn_B2[:, 0] / drawn_B2[:, 1]


def _medians(sorted_Q: np.ndarray, counts_BQ: np.ndarray) -> np.ndarray:
    """Return each draw's median of ascending values that stand `counts_BQ` times."""
    ends_BQ = np.cumsum(counts_BQ, axis=1, dtype=np.int64)
    total_B1 = ends_BQ[:, -1:]
    lower = (ends_BQ > (total_B1 - 1) // 2).argmax(1)
    upper = (ends_BQ > total_B1 // 2).argmax(1)
    middle_B: np.ndarray = (sorted_Q[lower] + sorted_Q[upper]) / 2
    return middle_B


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)
