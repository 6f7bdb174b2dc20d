"""The hits of every query, as arrays and as rows of HITS."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.archive import NO_HIT, Archive
from wristmir_ray.search import Hits, Mode, search, shortlists

MODES = {Mode.GLOBAL: "single_stage", Mode.TWO_STAGE: "two_stage", Mode.REGION: "region_only"}


@dataclass(frozen=True)
class Ranking:
    """Hits of every query in one region and mode; (Q, K) arrays, NO_HIT / 0 / NaN where there are fewer."""

    rows: np.ndarray
    stage1_ranks: np.ndarray
    global_scores: np.ndarray
    region_scores: np.ndarray
    fallbacks: list[str | None]


Rankings = Mapping[tuple[Region, Mode], Ranking]


def retrieve(archive: Archive, gallery: np.ndarray, queries: np.ndarray, pool: int, k: int) -> Rankings:
    """Search for queries in a gallery, their own patients left out, in every bone and mode.

    The matrix products of `shortlists` name the few rows that can be hits; `search` decides among
    them, so that the hits are those a service would give, whichever queries are asked together.

    Args:
        archive: the exams.
        gallery: (N,) rows with a wrist embedding.
        queries: (Q,) rows of the gallery.
        pool, k: as in `search`.
    """
    patients = np.unique(archive.patients, return_inverse=True)[1]
    others, own = patients[gallery], patients[queries]
    wrists, asked = archive.vectors[Region.WRIST][gallery], archive.vectors[Region.WRIST][queries]
    coarse = shortlists(asked, wrists, max(pool, k), own, others)
    out = {}
    for region in BONES:
        bones, asked_bones = archive.vectors[region][gallery], archive.vectors[region][queries]
        fine = shortlists(asked_bones, bones, k, own, others)
        for mode in MODES:
            found = []
            for q, vector in enumerate(asked_bones):
                bone = None if np.isnan(vector).any() else vector
                near = fine[q] if mode is Mode.REGION and bone is not None else coarse[q]
                allowed = others != own[q]
                found.append(
                    search(asked[q], bone, wrists, bones, mode=mode, pool=pool, k=k, allowed_N=allowed, shortlist=near)
                )
            out[region, mode] = _ranking(found, gallery, k)
    return out


def _ranking(found: list[Hits], gallery: np.ndarray, k: int) -> Ranking:
    ranking = _empty(len(found), k)
    for q, hits in enumerate(found):
        n = len(hits.rows)
        ranking.rows[q, :n], ranking.stage1_ranks[q, :n] = gallery[hits.rows], hits.stage1_ranks
        ranking.global_scores[q, :n], ranking.region_scores[q, :n] = hits.global_scores, hits.region_scores
        ranking.fallbacks[q] = hits.fallback
    return ranking


def _empty(queries: int, k: int) -> Ranking:
    shape = (queries, k)
    unknown = np.full(shape, np.nan, np.float32)
    return Ranking(np.full(shape, NO_HIT), np.zeros(shape, np.int64), unknown, unknown.copy(), [None] * queries)


def to_structs(archive: Archive, rankings: Rankings, query: int) -> list[dict[str, Any]]:
    """Return one query's hits as HITS has them, without the query.

    Args:
        archive: the exams.
        rankings: of some queries.
        query: which of them.
    """
    return [
        {
            "region": region.value,
            "mode": mode.value,
            "final_rank": rank,
            "exam_id": archive.exam_ids[row],
            "stage1_rank": int(r.stage1_ranks[query, rank - 1]) or None,
            "global_score": _nullable(r.global_scores[query, rank - 1]),
            "region_score": _nullable(r.region_scores[query, rank - 1]),
            "fallback": r.fallbacks[query],
        }
        for (region, mode), r in rankings.items()
        for rank, row in enumerate(r.rows[query], 1)
        if row != NO_HIT
    ]


def _nullable(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def from_table(hits: pa.Table, archive: Archive, queries: np.ndarray, k: int) -> Rankings:
    """Return published HITS as arrays: what `retrieve` gave.

    Args:
        hits: HITS of these queries.
        archive: the exams.
        queries: (Q,) rows.
        k: hits a query at most.
    """
    return {(region, mode): _read(hits, archive, queries, k, region, mode) for region in BONES for mode in MODES}


def _read(hits: pa.Table, archive: Archive, queries: np.ndarray, k: int, region: Region, mode: Mode) -> Ranking:
    part = hits.filter((pc.field("region") == region.value) & (pc.field("mode") == mode.value))
    query = archive.positions(part["query_exam_id"], archive.exam_ids[queries])
    at = query, part["final_rank"].to_numpy() - 1
    ranking = _empty(len(queries), k)
    ranking.rows[at] = archive.positions(part["exam_id"])
    ranking.stage1_ranks[at] = pc.fill_null(part["stage1_rank"], 0).to_numpy()
    for name in ("global_score", "region_score"):
        getattr(ranking, f"{name}s")[at] = part[name].to_numpy()
    for q, fallback in zip(query, part["fallback"].to_pylist(), strict=True):
        ranking.fallbacks[q] = fallback
    return ranking
