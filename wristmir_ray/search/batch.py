"""Many queries at once: one matrix product gives rows that surely hold each query's top k."""

import numpy as np

from wristmir_ray.search.coarse import rounding

BLOCK = 256
"""Queries a product: bounds the score matrix, not the result."""


def shortlists(
    queries_QD: np.ndarray,
    gallery_ND: np.ndarray,
    k: int,
    query_groups_Q: np.ndarray,
    gallery_groups_N: np.ndarray,
) -> list[np.ndarray]:
    """Return, for each query, ascending rows that contain its exact top k outside its own group.

    A BLAS product sums in another order than `scores`; every row whose product comes within twice
    the rounding of the k-th best is kept, so that no row of the exact top k, ties included, is lost.
    `search` with a shortlist then gives what it would give without.

    Args:
        queries_QD: (Q, D) float32 unit norm; a row of NaN gets an empty list.
        gallery_ND: (N, D) float32 unit norm; NaN rows are in no list.
        k: how many.
        query_groups_Q, gallery_groups_N: int; rows of the query's group (its patient) are left out.
    """
    missing_N = np.isnan(gallery_ND[:, 0])
    gallery_DN = np.nan_to_num(gallery_ND, nan=0.0).T
    slack = 2 * rounding(gallery_ND.shape[1])
    out: list[np.ndarray] = []
    for start in range(0, len(queries_QD), BLOCK):
        block_BD = queries_QD[start : start + BLOCK]
        scores_BN = np.nan_to_num(block_BD, nan=0.0) @ gallery_DN
        own_BN = query_groups_Q[start : start + BLOCK, None] == gallery_groups_N
        scores_BN[own_BN | missing_N | np.isnan(block_BD[:, :1])] = -np.inf
        bound_B1 = _kth(scores_BN, k) - slack
        kept_BN = (scores_BN >= bound_B1) & (scores_BN > -np.inf)
        out += [np.flatnonzero(row) for row in kept_BN]
    return out


def _kth(scores_BN: np.ndarray, k: int) -> np.ndarray:
    """Return each row's k-th highest score (B, 1); -inf where there are fewer."""
    n = scores_BN.shape[1]
    if k > n:
        return np.full((len(scores_BN), 1), -np.inf, scores_BN.dtype)
    return np.partition(scores_BN, n - k, axis=1)[:, n - k, None]
