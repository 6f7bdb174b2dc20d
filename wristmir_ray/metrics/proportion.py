"""A share of cases with the 95 % interval of Wilson (1927), which holds for few cases and for shares near 0 and 1."""

import math

import numpy as np

from wristmir_ray.metrics.bootstrap import Interval

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson(successes: float, n: float) -> Interval:
    """Return successes / n with its interval.

    With p = successes / n: centre (p + z²/2n) / (1 + z²/n), half width z √(p(1-p)/n + z²/4n²) / (1 + z²/n).

    Args:
        successes: cases counted, 0 <= successes <= n; a weighted sum is allowed.
        n: all cases, or the effective number of weighted ones.

    Returns:
        The share; NaN with the interval [0, 1] where there is no case.

    Raises:
        ValueError: successes outside [0, n].

    References:
        Wilson, JASA 22 (1927) 209; Brown, Cai, DasGupta, Statistical Science 16 (2001) 101, Eq. 4.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, 0)
    p, z2 = successes / n, Z95 * Z95 / n
    centre = (p + z2 / 2) / (1 + z2)
    half = math.sqrt(p * (1 - p) * z2 + z2 * z2 / 4) / (1 + z2)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return Interval(p, low, 1.0 if successes == n else min(1.0, centre + half), round(n))


def weighted_share(hits_N: np.ndarray, weights_N: np.ndarray) -> Interval:
    """Return the weighted share of hits, its Wilson interval at Kish's effective number of cases.

    n_eff = (Σ w)² / Σ w²; equal weights give the plain share and interval.

    Args:
        hits_N: (N,) bool.
        weights_N: (N,) float, > 0.
    """
    total = float(weights_N.sum())
    if not total:
        return wilson(0, 0)
    n_eff = total**2 / float((weights_N**2).sum())
    share = min(float(weights_N[hits_N].sum()) / total, 1.0)
    interval = wilson(share * n_eff, n_eff)
    return Interval(interval.value, interval.low, interval.high, len(hits_N))
