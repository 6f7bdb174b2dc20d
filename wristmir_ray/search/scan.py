"""The best rows of one gallery: a full scan, or a certified one that gives the same bits."""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.search.certify import FEW, Codes, certified, slack
from wristmir_ray.search.coarse import rounding, scores, scores_at, top

GATHER_SHARE = 0.3
"""Below this share of allowed rows they are gathered; above it the scan reads all, and drops the others."""


FORBIDDEN = 8.0
"""Taken from what seems the score of a row that is not allowed: no row of unit norm makes that good. The values stay
different, since selecting the k-th among many equal ones is slow."""


@dataclass(frozen=True)
class Best:
    """Rows of a gallery, best first; ties in row order."""

    rows: np.ndarray
    """int64."""
    scores: np.ndarray
    """float32, from `scores`: of full vectors, whatever the scan was."""
    certified: bool
    """Bounds left rows out; false where every allowed row was scored in float32."""
    approximate: bool = False
    """An index named the rows, and may have missed one."""


def best(
    query_D: np.ndarray,
    gallery_ND: np.ndarray,
    k: int,
    allowed_N: np.ndarray | None = None,
    codes: Codes | None = None,
    coarse_N: np.ndarray | None = None,
) -> Best:
    """Return the k rows with the highest inner products.

    Args:
        query_D: (D,) float32 unit norm.
        gallery_ND: (N, D) float32 unit norm; NaN rows are never returned.
        k: at most this many.
        allowed_N: (N,) bool; with codes it must leave out the NaN rows.
        codes: of the gallery; without them the scan is a full one.
        coarse_N: (N,) float32, the product with the codes (without codes: with the gallery) from a
            matrix product over several queries; it is overwritten.
    """
    usable = len(gallery_ND) if allowed_N is None else int(np.count_nonzero(allowed_N))
    k = min(k, usable)
    few = usable < GATHER_SHARE * len(gallery_ND)
    rows = np.flatnonzero(allowed_N) if few and allowed_N is not None else None
    if (codes is not None or coarse_N is not None) and usable > FEW * k and k > 0:
        forbidden_N = ~allowed_N if allowed_N is not None and rows is None else None
        coarse_M, ceiling_M = _bounds(query_D, codes, coarse_N, rows, forbidden_N)
        dim = gallery_ND.shape[1]
        margin = 2 * rounding(dim) if codes is None else slack(dim, len(codes.axes))
        found = certified(query_D, gallery_ND, coarse_M, ceiling_M, k, margin, rows)
        if found is not None:
            return Best(*found, codes is not None)
    if rows is not None:
        full = scores_at(query_D, gallery_ND, rows)
        order = top(full, k)
        return Best(rows[order], full[order], False)
    full = scores(query_D, gallery_ND)
    order = top(full, k, allowed_N)
    return Best(order, full[order], False)


def products(queries_QD: np.ndarray, gallery_ND: np.ndarray, codes: Codes | None) -> np.ndarray:
    """Return (Q, N) float32 for `coarse_N`, by one matrix product.

    Without codes a NaN row gives NaN, which `best` must be told to leave out.
    """
    if codes is None:
        return np.asarray(queries_QD @ gallery_ND.T)
    leading_QC = np.stack([codes.split(q)[0] for q in queries_QD])
    return np.asarray(leading_QC @ codes.leading.T)


def _bounds(
    query_D: np.ndarray,
    codes: Codes | None,
    coarse_N: np.ndarray | None,
    rows: np.ndarray | None,
    forbidden_N: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what seems the score of every row, or of `rows`, and the ceiling above it."""
    q1_C, q2 = codes.split(query_D) if codes is not None else (query_D, 0.0)
    if coarse_N is not None:
        coarse_M = coarse_N if rows is None else coarse_N[rows]
    else:
        assert codes is not None
        coarse_M = scores(q1_C, codes.leading) if rows is None else scores_at(q1_C, codes.leading, rows)
    if forbidden_N is not None:
        coarse_M -= np.multiply(forbidden_N, FORBIDDEN, dtype=np.float32)
        if codes is None:
            np.nan_to_num(coarse_M, copy=False, nan=-FORBIDDEN)
    if codes is None:
        return coarse_M, coarse_M
    rest_M = codes.rest if rows is None else codes.rest[rows]
    return coarse_M, coarse_M + rest_M * np.float32(q2)
