"""Coarse to fine: whole wrists choose the pool, one region orders it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wristmir_ray.search.coarse import scores, top
from wristmir_ray.search.rerank import rerank


class Mode(StrEnum):
    """How candidates are ranked (WristMIR §3.2, App. F)."""

    TWO_STAGE = "two_stage"
    GLOBAL = "global"
    REGION = "region"


@dataclass(frozen=True)
class Hits:
    """What one search found, best first. All arrays have one entry a hit."""

    rows: np.ndarray
    """int64, rows of the gallery."""
    global_scores: np.ndarray
    """float32 cosine of whole wrists; NaN where mode region was asked without a global query."""
    region_scores: np.ndarray
    """float32 cosine of the region; NaN where the hit, or the query, lacks it."""
    stage1_ranks: np.ndarray
    """int64 from 1; 0 where stage 1 was not run."""
    fallback: str | None = None
    """Why the region did not order the hits as asked; null when it did."""


NO_QUERY_REGION = "query_region_not_found"
"""The query has no embedding of the region: hits stand in stage-1 order (WristMIR §3.2)."""


def search(
    query_global_D: np.ndarray | None,
    query_region_D: np.ndarray | None,
    gallery_global_ND: np.ndarray,
    gallery_region_ND: np.ndarray,
    *,
    mode: Mode,
    pool: int,
    k: int,
    allowed_N: np.ndarray | None = None,
    shortlist: np.ndarray | None = None,
) -> Hits:
    """Return the k most similar rows of a gallery.

    two_stage: the `pool` rows most similar by whole wrist, reordered by the region; rows without
    that region follow the reordered ones in stage-1 order. global: stage 1 alone. region: the
    region alone, over the whole gallery. A query without the region falls back to stage 1.

    Args:
        query_global_D: (D,) float32 unit norm; may be None in mode region.
        query_region_D: (D,) float32 unit norm, or None where the bone was not found.
        gallery_global_ND: (N, D) float32; a row of NaN is never a candidate of stage 1.
        gallery_region_ND: (N, D) float32; NaN rows lack the region.
        mode: how to rank.
        pool: candidates that stage 1 passes on.
        k: hits wanted.
        allowed_N: (N,) bool; hits are always a subset of it.
        shortlist: ascending rows known to hold the result of the scan over the gallery (by whole
            wrist; in mode region by the region): FAISS or `shortlists` gives them; default all rows.

    Raises:
        ValueError: no query embedding that the mode could use.

    References:
        WristMIR §3.2, Eq. 3 and 4, App. F.
    """
    by_region = mode is Mode.REGION and query_region_D is not None
    if not by_region and query_global_D is None:
        raise ValueError("a search needs the query's whole-wrist embedding, or mode region and its region's")
    fallback = NO_QUERY_REGION if query_region_D is None and mode is not Mode.GLOBAL else None
    if by_region and query_region_D is not None:
        region_N = _scores_of(query_region_D, gallery_region_ND, shortlist)
        return _region_only(query_global_D, gallery_global_ND, region_N, k, allowed_N)
    assert query_global_D is not None
    global_N = _scores_of(query_global_D, gallery_global_ND, shortlist)
    candidates = top(global_N, pool if mode is Mode.TWO_STAGE else k, allowed_N)
    ranks = np.arange(1, len(candidates) + 1)
    region_P = np.full(len(candidates), np.nan, np.float32)
    if query_region_D is not None:
        region_P = scores(query_region_D, gallery_region_ND[candidates])
    order = rerank(region_P, candidates)[:k] if mode is Mode.TWO_STAGE else np.arange(min(k, len(candidates)))
    rows = candidates[order]
    return _checked(Hits(rows, global_N[rows], region_P[order], ranks[order], fallback), allowed_N)


def _scores_of(query_D: np.ndarray, gallery_ND: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """Return scores of all rows, NaN outside `rows`."""
    if rows is None:
        return scores(query_D, gallery_ND)
    out = np.full(len(gallery_ND), np.nan, np.float32)
    out[rows] = scores(query_D, gallery_ND[rows])
    return out


def _region_only(
    query_global_D: np.ndarray | None,
    gallery_global_ND: np.ndarray,
    region_N: np.ndarray,
    k: int,
    allowed_N: np.ndarray | None,
) -> Hits:
    rows = top(region_N, k, allowed_N)
    nothing = np.full(len(rows), np.nan, np.float32)
    seen = nothing if query_global_D is None else scores(query_global_D, gallery_global_ND[rows])
    return _checked(Hits(rows, seen, region_N[rows], np.zeros(len(rows), np.int64)), allowed_N)


def _checked(hits: Hits, allowed_N: np.ndarray | None) -> Hits:
    """Refuse to hand out a row that the filter forbids, whatever found it."""
    if allowed_N is not None and not allowed_N[hits.rows].all():
        raise AssertionError("a search returned a row that its filter forbids")
    return hits
