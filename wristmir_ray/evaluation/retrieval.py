"""Image retrieval on held-out patients: Tables 2 and 7, and what stage 1 is for (DESIGN: definitions)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.agreement import agreement, agreement_by_chance
from wristmir_ray.evaluation.archive import NO_HIT, Archive
from wristmir_ray.evaluation.judging import chance_level, difference, judge
from wristmir_ray.metrics.bootstrap import Bootstrap
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


def retrieve(archive: Archive, queries: np.ndarray, pool: int, k: int) -> dict[tuple[Region, Mode], Ranking]:
    """Search for every query among the others, its own patient left out, in every bone and mode.

    The matrix products of `shortlists` name the few rows that can be hits; `search` decides among
    them, so that the hits are those a service would give.

    Args:
        archive: the exams.
        queries: rows with a wrist embedding; they are also the gallery.
        pool, k: as in `search`.
    """
    patients = np.unique(archive.patients[queries], return_inverse=True)[1]
    wrists = archive.vectors[Region.WRIST][queries]
    coarse = shortlists(wrists, wrists, max(pool, k), patients, patients)
    out = {}
    for region in BONES:
        bones = archive.vectors[region][queries]
        fine = shortlists(bones, bones, k, patients, patients)
        for mode in MODES:
            found = []
            for q in range(len(queries)):
                bone = None if np.isnan(bones[q]).any() else bones[q]
                near = fine[q] if mode is Mode.REGION and bone is not None else coarse[q]
                others = patients != patients[q]
                found.append(
                    search(wrists[q], bone, wrists, bones, mode=mode, pool=pool, k=k, allowed_N=others, shortlist=near)
                )
            out[region, mode] = _ranking(found, queries, k)
    return out


def _ranking(found: list[Hits], queries: np.ndarray, k: int) -> Ranking:
    shape = (len(found), k)
    rows, ranks = np.full(shape, NO_HIT), np.zeros(shape, np.int64)
    seen, local = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    for q, hits in enumerate(found):
        n = len(hits.rows)
        rows[q, :n], ranks[q, :n] = queries[hits.rows], hits.stage1_ranks
        seen[q, :n], local[q, :n] = hits.global_scores, hits.region_scores
    return Ranking(rows, ranks, seen, local, [h.fallback for h in found])


def evaluate_region(
    archive: Archive,
    queries: np.ndarray,
    region: Region,
    rankings: dict[Mode, Ranking],
    resamples: int,
    shuffles: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of one bone by mode, each with its level of chance, and the paired differences."""
    present, classes = archive.present[region], archive.classes[region]
    labelled = queries[present[queries] != -1]
    captioned = np.array([archive.captions[region][q] is not None for q in queries], bool)
    draws = Bootstrap(archive.patients[labelled], resamples, seed)
    judged = {m: judge(present, classes, queries, r.rows) for m, r in rankings.items()}
    figures: dict[str, Any] = {
        "queries": len(labelled),
        "positive_queries": int((present[labelled] == 1).sum()),
        "uncertain_excluded": int(captioned.sum()) - len(labelled),
        "without_caption": int((~captioned).sum()),
        "query_region_not_found": sum(f is not None for f in rankings[Mode.TWO_STAGE].fallbacks),
    }
    for mode, j in judged.items():
        chance = chance_level(present, classes, queries, rankings[mode].rows, shuffles, seed)
        figures[MODES[mode]] = {
            **{name: s.as_dict() for name, s in j.sampled(draws).items()},
            "chance": {name: level.as_dict() for name, level in chance.items()},
        }
    two, one, only = judged[Mode.TWO_STAGE], judged[Mode.GLOBAL], judged[Mode.REGION]
    paired = {
        "two_stage_minus_single_stage": {n: s.as_dict() for n, s in difference(two, one, draws).items()},
        "region_only_minus_two_stage": {n: s.as_dict() for n, s in difference(only, two, draws).items()},
    }
    return figures, paired


def evaluate_bones(
    archive: Archive, queries: np.ndarray, pool: int, k: int, resamples: int, shuffles: int, seed: int
) -> tuple[dict[str, Any], dict[tuple[Region, Mode], Ranking]]:
    """Return every figure of image retrieval, and the rankings they come from.

    Args:
        archive: the exams.
        queries: rows with a wrist embedding.
        pool, k: as in `search`.
        resamples: bootstrap draws of patients.
        shuffles: of the labels, for the level of chance.
        seed: of both.
    """
    rankings = retrieve(archive, queries, pool, k)
    draws = Bootstrap(archive.patients[queries], resamples, seed)
    regions: dict[str, Any] = {}
    paired: dict[str, Any] = {}
    consistency: dict[str, Any] = {}
    for bone in BONES:
        own = {m: rankings[bone, m] for m in MODES}
        regions[bone.value], paired[bone.value] = evaluate_region(
            archive, queries, bone, own, resamples, shuffles, seed
        )
        hits = {MODES[m]: r.rows for m, r in own.items()}
        consistency[bone.value] = agreement(archive, queries, hits, draws)
    consistency["chance"] = agreement_by_chance(archive, queries, draws)
    patients, exams = np.unique(archive.patients[queries], return_counts=True)
    gallery = len(queries) - float((exams**2).sum()) / max(len(queries), 1)
    facts = {
        "queries": len(queries),
        "patients": len(patients),
        "gallery": round(gallery, 1),
        "pool": pool,
        "pool_share": round(pool / max(gallery, 1.0), 4),
    }
    return {**facts, "regions": regions, "paired": paired, "consistency": consistency}, rankings
