"""Coarse to fine: whole wrists choose the pool, one region orders it."""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.search.coarse import scores, scores_at, top
from wristmir_ray.search.merge import Mode, Part, gather, rank
from wristmir_ray.search.scan import Best, best

NO_QUERY_REGION = "query_region_not_found"
"""The query has no embedding of the region: hits stand in stage-1 order (WristMIR §3.2)."""


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


def plan(mode: Mode, has_global: bool, has_region: bool) -> tuple[Mode, str | None]:
    """Return the mode that a query can be ranked in, and why it is not the one asked for, or None.

    Raises:
        ValueError: no query embedding that the mode could use.
    """
    if mode is Mode.REGION and has_region:
        return mode, None
    if not has_global:
        raise ValueError("a search needs the query's whole-wrist embedding, or mode region and its region's")
    if mode is not Mode.GLOBAL and not has_region:
        return Mode.GLOBAL, NO_QUERY_REGION
    return mode, None


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
            wrist; in mode region by the region), as `shortlists` gives them; default all rows.

    Raises:
        ValueError: no query embedding that the mode could use.

    References:
        WristMIR §3.2, Eq. 3 and 4, App. F.
    """
    ranked, fallback = plan(mode, query_global_D is not None, query_region_D is not None)
    by_region = ranked is Mode.REGION
    query = query_region_D if by_region else query_global_D
    assert query is not None
    gallery_ND = gallery_region_ND if by_region else gallery_global_ND
    wanted = pool if ranked is Mode.TWO_STAGE else k
    if shortlist is None:
        found = best(query, gallery_ND, wanted, allowed_N)
    else:
        full = scores_at(query, gallery_ND, shortlist)
        order = top(full, wanted, None if allowed_N is None else allowed_N[shortlist])
        found = Best(shortlist[order], full[order], False)
    part = candidates(found, by_region, query_global_D, query_region_D, gallery_global_ND, gallery_region_ND)
    hits = rank(gather([part], ranked, wanted), ranked, k)
    part = part.take(hits.at)
    return checked(Hits(part.ids, part.global_scores, part.region_scores, hits.stage1_ranks, fallback), allowed_N)


def candidates(
    found: Best,
    by_region: bool,
    query_global_D: np.ndarray | None,
    query_region_D: np.ndarray | None,
    gallery_global_ND: np.ndarray,
    gallery_region_ND: np.ndarray,
) -> Part:
    """Return the rows that a scan found with both their scores; ids are rows, patients are none.

    Args:
        found: what the scan found, by the region if `by_region`, else by whole wrist.
        by_region: which of the two scores it gave.
        query_global_D, query_region_D, gallery_global_ND, gallery_region_ND: as in `search`.
    """
    other, gallery_ND = (query_global_D, gallery_global_ND) if by_region else (query_region_D, gallery_region_ND)
    unknown = np.full(len(found.rows), np.nan, np.float32)
    beside = unknown if other is None else scores(other, np.take(gallery_ND, found.rows, axis=0))
    seen, local = (beside, found.scores) if by_region else (found.scores, beside)
    nobody = np.zeros(len(found.rows), np.int64)
    return Part(found.rows, nobody, seen, local, np.stack([nobody, found.rows], axis=1))


def checked(hits: Hits, allowed_N: np.ndarray | None) -> Hits:
    """Refuse to hand out a row that the filter forbids, whatever found it."""
    if allowed_N is not None and not allowed_N[hits.rows].all():
        raise AssertionError("a search returned a row that its filter forbids")
    return hits
