"""Image-to-text ranking (Tables 1, 5, 6) and the linear probe (Table 1)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Region, Split
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.metrics.bootstrap import draws, interval
from wristmir_ray.metrics.ranking import rank_bounds, ranking_figures

BLOCK = 512
"""Queries scored at a time: bounds the score matrix, not the result."""


def caption_ranking(
    archive: Archive,
    queries: np.ndarray,
    encode_texts: Callable[[Sequence[str]], np.ndarray],
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return recall@k, mAP, mean and median rank of each image's own caption.

    The gallery holds every (exam x wrist or found region) caption of the split, pooled. Unmerged:
    equal captions are separate entries and ties are resolved in expectation. Merged: distinct ones.

    Args:
        archive: the exams.
        queries: rows of the split.
        encode_texts: captions -> (C, D) float32 unit norm.
        ks: cut-offs.
        resamples, seed: bootstrap by patient.
    """
    pairs = [(q, r) for r in Region for q in queries if _usable(archive, q, r)]
    if not pairs:
        return {"queries": 0}
    texts = [archive.captions[r][q] for q, r in pairs]
    distinct, correct, copies = np.unique(np.asarray(texts, str), return_inverse=True, return_counts=True)
    captions = encode_texts(distinct.tolist())
    images = np.stack([archive.vectors[r][q] for q, r in pairs])
    patients = archive.patients[[q for q, _ in pairs]]
    samples = draws(patients, resamples, seed)
    out: dict[str, Any] = {"queries": len(pairs), "gallery": len(pairs), "distinct_captions": len(distinct)}
    for name, weights in (("unmerged", copies), ("merged", np.ones_like(copies))):
        higher, equal = _bounds(images, captions, correct, weights)
        figures = ranking_figures(higher, equal, ks)
        out[name] = {n: interval(_mean_of(v), len(v), samples).as_dict() for n, v in figures.items() if n != "rank"}
        ranks = figures["rank"]
        out[name]["mean_rank"] = interval(_mean_of(ranks), len(ranks), samples).as_dict()
        out[name]["median_rank"] = interval(_median_of(ranks), len(ranks), samples).as_dict()
    return out


def _usable(archive: Archive, row: int, region: Region) -> bool:
    return archive.captions[region][row] is not None and not np.isnan(archive.vectors[region][row, 0])


def _bounds(
    images: np.ndarray, captions: np.ndarray, correct: np.ndarray, copies: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    parts = [
        rank_bounds(images[i : i + BLOCK] @ captions.T, correct[i : i + BLOCK], copies)
        for i in range(0, len(images), BLOCK)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda at: float(np.mean(values[at]))


def _median_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda at: float(np.median(values[at]))


def linear_probe(archive: Archive, test: np.ndarray) -> dict[str, Any]:
    """Return AUROC, AUPRC and F1 of a logistic regression on frozen embeddings, by region.

    For the wrist the label is any fracture. Fit on the train split, threshold 0.5; patients are
    disjoint by construction of the splits.
    """
    train = archive.rows(Split.TRAIN)
    return {region.value: _probe(archive, region, train, test) for region in Region}


def _probe(archive: Archive, region: Region, train: np.ndarray, test: np.ndarray) -> dict[str, Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vectors, labels = archive.vectors[region], archive.present[region]
    usable = (labels != -1) & ~np.isnan(vectors[:, 0])
    fit_on, judged = train[usable[train]], test[usable[test]]
    if len(np.unique(labels[fit_on])) < 2 or len(np.unique(labels[judged])) < 2:
        return {"note": "one class only: a probe needs both"}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(vectors[fit_on], labels[fit_on])
    chance = model.predict_proba(vectors[judged])[:, 1]
    truth = labels[judged]
    return {
        "auroc": round(float(roc_auc_score(truth, chance)), 4),
        "auprc": round(float(average_precision_score(truth, chance)), 4),
        "f1": round(float(f1_score(truth, chance > 0.5)), 4),
        "prevalence": round(float(truth.mean()), 4),
        "n_train": len(fit_on),
        "n_test": len(judged),
    }
