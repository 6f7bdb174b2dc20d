"""Percentile bootstrap by patient: a patient's exams are drawn together, or not at all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    """Queries it is over."""

    def as_dict(self) -> dict[str, float | int]:
        """Return plain data, rounded to what the sample can bear."""
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4), "n": self.n}


def draws(groups_Q: np.ndarray, num_draws: int, seed: int) -> list[np.ndarray]:
    """Return resamples of queries: groups (patients) drawn with replacement, all their queries taken.

    Args:
        groups_Q: (Q,) group of each query.
        num_draws: resamples.
        seed: same seed, same resamples; use one list for all that is compared (paired).
    """
    _, inverse = np.unique(groups_Q, return_inverse=True)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    rng = np.random.default_rng(seed)
    count = len(members)
    return [np.concatenate([members[g] for g in rng.integers(0, count, count)]) for _ in range(num_draws)]


def interval(statistic: Callable[[np.ndarray], float], num_queries: int, resamples: list[np.ndarray]) -> Interval:
    """Return a statistic and its 95 % percentile interval.

    Args:
        statistic: query indices -> figure. For a paired difference it is computed on the same
            indices for both sides.
        num_queries: queries in the sample.
        resamples: as `draws` gives them.
    """
    values = np.array([statistic(r) for r in resamples])
    values = values[~np.isnan(values)]
    low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (np.nan, np.nan)
    return Interval(statistic(np.arange(num_queries)), float(low), float(high), num_queries)
