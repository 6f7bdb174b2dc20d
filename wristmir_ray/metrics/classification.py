"""Figures of a score against a binary truth, ties in closed form (WristMIR §4.2)."""

import numpy as np


def average_precision(truth_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Return AP (AUPRC): the sum over thresholds of (gain in recall) * precision.

    Equal scores share one threshold, so that their order does not matter.

    Args:
        truth_N: (N,) bool.
        scores_N: (N,) float, higher is more positive.

    Returns:
        A figure in [0, 1]; NaN without a positive.
    """
    if not truth_N.any():
        return float("nan")
    ends, truth = _thresholds(truth_N, scores_N)
    hits = np.cumsum(truth)[ends]
    precision = hits / (ends + 1)
    gain = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(gain * precision))


def auroc(truth_N: np.ndarray, scores_N: np.ndarray) -> float:
    """Return the chance that a positive scores above a negative, equal scores counting half.

    Args:
        truth_N: (N,) bool.
        scores_N: (N,) float, higher is more positive.

    Returns:
        A figure in [0, 1]; NaN where one class is missing.
    """
    positives = int(truth_N.sum())
    negatives = len(truth_N) - positives
    if not positives or not negatives:
        return float("nan")
    ends, truth = _thresholds(truth_N, scores_N)
    hits = np.concatenate([[0], np.cumsum(truth)[ends]])
    false = np.concatenate([[0], ends + 1]) - hits
    area = np.sum(np.diff(false) * (hits[1:] + hits[:-1]) / 2)
    return float(area / (positives * negatives))


def _thresholds(truth_N: np.ndarray, scores_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the last row of each run of equal scores, best first, and the truth in that order."""
    order = np.argsort(-scores_N, kind="stable")
    values = scores_N[order]
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    return ends, truth_N[order].astype(np.int64)
