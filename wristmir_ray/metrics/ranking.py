"""Where the right caption stands: recall, reciprocal rank, mean and median rank, ties in closed form."""

from collections.abc import Sequence

import numpy as np


def rank_bounds(
    scores_QC: np.ndarray, correct_Q: np.ndarray, copies_C: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many captions score higher than the correct one, and how many equally.

    Args:
        scores_QC: (Q, C) float.
        correct_Q: (Q,) int, column of each query's correct caption.
        copies_C: (C,) int, how often each caption stands in the gallery; default once (merged).

    Returns:
        higher (Q,) int and equal (Q,) int, the correct one itself included in `equal`.

    Raises:
        ValueError: a correct caption's score is NaN: it has no rank.
    """
    own = np.take_along_axis(scores_QC, correct_Q[:, None], axis=1)
    if np.isnan(own).any():
        raise ValueError("the score of a correct caption is not a number")
    copies_C = np.ones(scores_QC.shape[1], np.int64) if copies_C is None else copies_C
    return (scores_QC > own) @ copies_C, (scores_QC == own) @ copies_C


def recall_at(higher_Q: np.ndarray, equal_Q: np.ndarray, k: int) -> np.ndarray:
    """Return each query's chance that its caption is in the top k, equal scores in random order.

    P = clip((k - higher) / equal, 0, 1).
    """
    share_Q: np.ndarray = np.clip((k - higher_Q) / equal_Q, 0.0, 1.0)
    return share_Q


def expected_rank(higher_Q: np.ndarray, equal_Q: np.ndarray) -> np.ndarray:
    """Return each query's expected rank from 1: higher + (equal + 1) / 2."""
    rank_Q: np.ndarray = higher_Q + (equal_Q + 1) / 2
    return rank_Q


def reciprocal_rank(higher_Q: np.ndarray, equal_Q: np.ndarray) -> np.ndarray:
    """Return each query's expected reciprocal rank: the mean of 1 / r over r = higher+1 .. higher+equal.

    With one correct caption a query, its mean over queries is mAP.
    """
    harmonic_N = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int((higher_Q + equal_Q).max()) + 1))])
    inverse_Q: np.ndarray = (harmonic_N[higher_Q + equal_Q] - harmonic_N[higher_Q]) / equal_Q
    return inverse_Q


def ranking_figures(higher_Q: np.ndarray, equal_Q: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """Return every per-query figure by name (`recall@k`, `reciprocal_rank`, `rank`)."""
    figures = {f"recall@{k}": recall_at(higher_Q, equal_Q, k) for k in ks}
    return {
        **figures,
        "reciprocal_rank": reciprocal_rank(higher_Q, equal_Q),
        "rank": expected_rank(higher_Q, equal_Q),
    }
