"""Image retrieval on held-out patients: Tables 2 and 7, and what stage 1 is for (DESIGN: definitions)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.agreement import agreement, agreement_by_chance
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.evaluation.hits import MODES, Ranking, Rankings
from wristmir_ray.evaluation.judging import chance_level, difference, judge
from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.search import Mode


def evaluate_region(
    archive: Archive,
    queries: np.ndarray,
    region: Region,
    rankings: Mapping[Mode, Ranking],
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
    archive: Archive, queries: np.ndarray, rankings: Rankings, pool: int, resamples: int, shuffles: int, seed: int
) -> dict[str, Any]:
    """Return every figure of image retrieval.

    Args:
        archive: the exams.
        queries: rows with a wrist embedding; they are also the gallery.
        rankings: their hits, as `hits.retrieve` gives them.
        pool: candidates that stage 1 passed on.
        resamples: bootstrap draws of patients.
        shuffles: of the labels, for the level of chance.
        seed: of both.
    """
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
    return {**facts, "regions": regions, "paired": paired, "consistency": consistency}
