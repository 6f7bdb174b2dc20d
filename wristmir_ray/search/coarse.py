"""Exact top-k by inner product, with ties in row order, and how far rounding can move a score."""

import numpy as np

BLOCK = 2048
"""Rows gathered at a time: 4 MiB at 512 numbers, which a core's cache holds."""


def scores(query_D: np.ndarray, gallery_ND: np.ndarray) -> np.ndarray:
    """Return cosine similarities, one row at a time in effect: a score depends on no other row.

    `einsum` sums each contiguous row in the same order whatever N is; a BLAS product may not, and
    results would then depend on batch and shard sizes. It takes 1.2 to 1.3 times what FAISS's brute force does.

    Args:
        query_D: (D,) float32, unit norm.
        gallery_ND: (N, D) float32, unit norm; a row of NaN has no embedding.

    Returns:
        (N,) float32; NaN where the gallery row is NaN.

    References:
        WristMIR Eq. 3 and 4.
    """
    rows_ND = np.ascontiguousarray(gallery_ND)
    scores_N: np.ndarray = np.einsum("nd,d->n", rows_ND, np.ascontiguousarray(query_D), optimize=False)
    return scores_N.astype(np.float32, copy=False)


def scores_at(query_D: np.ndarray, gallery_ND: np.ndarray, rows_M: np.ndarray) -> np.ndarray:
    """Return `scores` of these rows alone (M,), gathered in blocks that stay in the cache."""
    out = np.empty(len(rows_M), np.float32)
    buffer_BD = np.empty((min(BLOCK, len(rows_M)), gallery_ND.shape[1]), np.float32)
    for start in range(0, len(rows_M), BLOCK):
        part = rows_M[start : start + BLOCK]
        gathered = buffer_BD[: len(part)]
        np.take(gallery_ND, part, axis=0, out=gathered, mode="clip")  # clip: no second buffer
        out[start : start + len(part)] = scores(query_D, gathered)
    return out


def top(scores_N: np.ndarray, k: int, allowed_N: np.ndarray | None = None) -> np.ndarray:
    """Return the rows of the k highest scores, best first; ties go to the lower row.

    Args:
        scores_N: (N,) float32; NaN is never returned.
        k: at most this many.
        allowed_N: (N,) bool; rows that may be returned.

    Returns:
        (<= k,) int64.
    """
    rows = np.flatnonzero(~np.isnan(scores_N) if allowed_N is None else ~np.isnan(scores_N) & allowed_N)
    if k < len(rows):
        values = scores_N[rows]
        rows = rows[values >= kth(values, k)]  # keeps every tie at the bound: the lower rows win below
    order = np.argsort(-scores_N[rows], kind="stable")
    return rows[order[:k]]


def kth(values_N: np.ndarray, k: int) -> float:
    """Return the k-th highest of at least k values without NaN."""
    at = len(values_N) - k
    return float(np.partition(values_N, at)[at])


def rounding(dim: int) -> float:
    """Return by how much two float32 inner products of the same two unit vectors can differ.

    Each lies within D * 2^-24 / (1 - D * 2^-24) of the true product, in whatever order it is summed,
    so that two differ by less than D * 2^-23; doubled, since norms are one only up to rounding.
    """
    return 2 * dim * 2.0**-23
