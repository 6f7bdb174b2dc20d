"""Image retrieval on held-out patients: Tables 2 and 7, and what stage 1 is for (DESIGN: definitions)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.archive import CLASSES, Archive
from wristmir_ray.metrics.bootstrap import draws, interval
from wristmir_ray.metrics.matching import diagnosis, f1_score, majority_vote, match_share
from wristmir_ray.search import Mode, search

MODES = {Mode.GLOBAL: "single_stage", Mode.TWO_STAGE: "two_stage", Mode.REGION: "region_only"}
NO_HIT = -1


@dataclass(frozen=True)
class Ranking:
    """Hits of every query in one region and mode; (Q, K) arrays, NO_HIT / NaN where there are fewer."""

    rows: np.ndarray
    stage1_ranks: np.ndarray
    global_scores: np.ndarray
    region_scores: np.ndarray
    fallbacks: list[str | None]


def retrieve(archive: Archive, queries: np.ndarray, region: Region, mode: Mode, pool: int, k: int) -> Ranking:
    """Search for every query among the others of its split, its own patient left out.

    Args:
        archive: the exams.
        queries: rows; they are also the gallery.
        region, mode, pool, k: as in `search`.
    """
    wrists, bones = archive.vectors[Region.WRIST][queries], archive.vectors[region][queries]
    patients = archive.patients[queries]
    shape = (len(queries), k)
    rows, ranks = np.full(shape, NO_HIT), np.zeros(shape, np.int64)
    seen, local = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    fallbacks: list[str | None] = []
    for q in range(len(queries)):
        if np.isnan(wrists[q]).any():
            fallbacks.append("query_wrist_not_found")
            continue
        bone = None if np.isnan(bones[q]).any() else bones[q]
        others = patients != patients[q]
        hits = search(wrists[q], bone, wrists, bones, mode=mode, pool=pool, k=k, allowed_N=others)
        n = len(hits.rows)
        rows[q, :n], ranks[q, :n] = queries[hits.rows], hits.stage1_ranks
        seen[q, :n], local[q, :n] = hits.global_scores, hits.region_scores
        fallbacks.append(hits.fallback)
    return Ranking(rows, ranks, seen, local, fallbacks)


def hit_labels(labels_N: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
    """Return labels of the hits, (Q, K); -1 for a missing hit or an unlabelled exam."""
    return np.where(rows_QK == NO_HIT, -1, labels_N[rows_QK])


@dataclass(frozen=True)
class Judged:
    """One region and mode, judged query by query (labelled queries only)."""

    truth: np.ndarray
    binary: np.ndarray
    """match@k, binary labels."""
    by_class: np.ndarray
    vote: np.ndarray
    predicted: np.ndarray
    """Diagnosis by retrieval."""

    def f1(self, at: np.ndarray) -> float:
        """Return diagnosis F1 over the queries `at`."""
        return f1_score(self.truth[at], self.predicted[at])


def judge(present_N: np.ndarray, classes_N: np.ndarray, queries: np.ndarray, rows_QK: np.ndarray) -> Judged:
    """Judge the hits of labelled queries by binary and by class label."""
    labelled = present_N[queries] != -1
    asked, hits = queries[labelled], rows_QK[labelled]
    binary, kinds = hit_labels(present_N, hits), hit_labels(classes_N, hits)
    return Judged(
        truth=present_N[asked] == 1,
        binary=match_share(present_N[asked], binary),
        by_class=match_share(classes_N[asked], kinds),
        vote=(majority_vote(kinds, len(CLASSES)) == classes_N[asked]).astype(float),
        predicted=diagnosis(binary),
    )


def evaluate_region(
    archive: Archive, queries: np.ndarray, region: Region, rankings: dict[Mode, Ranking], resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of one bone by mode, and the paired differences between modes."""
    present, classes = archive.present[region], archive.classes[region]
    labelled = queries[present[queries] != -1]
    judged = {m: judge(present, classes, queries, r.rows) for m, r in rankings.items()}
    samples = draws(archive.patients[labelled], resamples, seed)
    n = len(labelled)
    everyone = np.arange(n)
    figures: dict[str, Any] = {"queries": n, "uncertain_excluded": len(queries) - n}
    figures["positive_queries"] = int((present[labelled] == 1).sum())
    figures["chance"] = chance_level(present[labelled], archive.patients[labelled])
    for mode, j in judged.items():
        positive = everyone[j.truth]
        figures[MODES[mode]] = {
            "diagnosis_f1": interval(j.f1, n, samples).as_dict(),
            "binary_match": _mean_interval(j.binary, samples),
            "class_match": _mean_interval(j.by_class, samples),
            "vote_accuracy": _mean_interval(j.vote, samples),
            "positive": {
                "binary_match": _mean(j.binary[positive]),
                "class_match": _mean(j.by_class[positive]),
                "vote_accuracy": _mean(j.vote[positive]),
            },
        }
    two, one, only = judged[Mode.TWO_STAGE], judged[Mode.GLOBAL], judged[Mode.REGION]
    paired = {
        "two_stage_minus_single_stage": _difference(two, one, samples),
        "region_only_minus_two_stage": _difference(only, two, samples),
    }
    return figures, paired


def chance_level(present_Q: np.ndarray, patients_Q: np.ndarray) -> dict[str, float]:
    """Return what a search that ignores the images would reach.

    binary_match: the mean share of the gallery (other patients) with the query's label.
    diagnosis_f1 of always answering the majority label.
    """
    positives = present_Q == 1
    shares = []
    for q in range(len(present_Q)):
        others = patients_Q != patients_Q[q]
        shares.append(float(np.mean(present_Q[others] == present_Q[q])) if others.any() else np.nan)
    majority = np.full(len(positives), positives.mean() > 0.5)
    return {
        "binary_match": round(_mean(np.asarray(shares)), 4),
        "diagnosis_f1": round(f1_score(positives, majority), 4),
    }


def consistency(archive: Archive, queries: np.ndarray, rows_QK: np.ndarray) -> dict[str, float]:
    """Return what stage 1 is for: the share of same-side hits, and the mean age gap in years."""
    missing = rows_QK == NO_HIT
    same = np.where(missing, np.nan, archive.sides[rows_QK] == archive.sides[queries][:, None])
    gap = np.abs(archive.ages_years[rows_QK] - archive.ages_years[queries][:, None])
    return {
        "same_side_share": round(_mean(same.astype(float)), 4),
        "age_gap_years": round(_mean(np.where(missing, np.nan, gap)), 3),
    }


def consistency_by_chance(archive: Archive, queries: np.ndarray) -> dict[str, float]:
    """Return `consistency` of hits drawn blindly from other patients."""
    rows = np.tile(queries, (len(queries), 1))
    own = archive.patients[rows] == archive.patients[queries][:, None]
    return consistency(archive, queries, np.where(own, NO_HIT, rows))


def _difference(a: Judged, b: Judged, samples: list[np.ndarray]) -> dict[str, Any]:
    n = len(a.truth)
    return {
        "diagnosis_f1": interval(lambda at: a.f1(at) - b.f1(at), n, samples).as_dict(),
        "binary_match": _mean_interval(a.binary - b.binary, samples),
        "class_match": _mean_interval(a.by_class - b.by_class, samples),
        "vote_accuracy": _mean_interval(a.vote - b.vote, samples),
    }


def _mean_interval(values: np.ndarray, samples: list[np.ndarray]) -> dict[str, Any]:
    return interval(lambda at: _mean(values[at]), len(values), samples).as_dict()


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def evaluate_bones(
    archive: Archive, queries: np.ndarray, pool: int, k: int, resamples: int, seed: int
) -> tuple[dict[str, Any], dict[tuple[Region, Mode], Ranking]]:
    """Return every figure of image retrieval, and the rankings they come from."""
    rankings = {(b, m): retrieve(archive, queries, b, m, pool, k) for b in BONES for m in MODES}
    regions: dict[str, Any] = {}
    paired: dict[str, Any] = {}
    agreement: dict[str, Any] = {}
    for bone in BONES:
        own = {m: rankings[bone, m] for m in MODES}
        regions[bone.value], paired[bone.value] = evaluate_region(archive, queries, bone, own, resamples, seed)
        agreement[bone.value] = {MODES[m]: consistency(archive, queries, r.rows) for m, r in own.items()}
    agreement["chance"] = consistency_by_chance(archive, queries)
    gallery = len(queries) - 1
    facts = {"queries": len(queries), "gallery": gallery, "pool": pool, "pool_share": round(pool / max(gallery, 1), 4)}
    return {**facts, "regions": regions, "paired": paired, "consistency": agreement}, rankings
