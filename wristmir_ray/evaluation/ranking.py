"""Image-to-text ranking: Tables 1, 5 and 6."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Region
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.metrics.ranking import rank_bounds, ranking_figures

BLOCK = 512
"""Queries scored at a time: bounds the score matrix, not the result."""


@dataclass(frozen=True)
class CaptionVectors:
    """Distinct captions and their embeddings, row by row."""

    texts: Sequence[str]
    vectors: np.ndarray
    """(C, D) float32 unit norm."""


def distinct_captions(archive: Archive, queries: np.ndarray) -> list[str]:
    """Return the distinct captions of the wrist and the found regions of these rows, sorted: the merged gallery."""
    return sorted({archive.captions[r][q] for q, r in _pairs(archive, queries)})


def caption_ranking(
    archive: Archive,
    queries: np.ndarray,
    captions: CaptionVectors,
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return recall@k, mAP, mean and median rank of each image's own caption.

    The gallery holds every (exam x wrist or found region) caption of the split, pooled; correct is
    the query's own caption. Unmerged: equal captions are separate entries and ties are resolved in
    expectation. Merged: distinct captions. Figures are over all queries, and by the region of the
    query against the same gallery (`by_region`). Intervals are by patient; `by_pair` repeats the
    pooled ones with every image-caption pair drawn alone, as the paper seems to.

    Args:
        archive: the exams.
        queries: rows of the split.
        captions: the distinct captions of these rows, embedded.
        ks: cut-offs.
        resamples, seed: of the bootstrap.
    """
    pairs = _pairs(archive, queries)
    if not pairs:
        return {"queries": 0}
    found = _figures(archive, pairs, captions, ks)
    patients = archive.patients[[q for q, _ in pairs]]

    def part(at: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
        draws = Bootstrap(groups[at], resamples, seed)
        return {kind: _intervals({n: v[at] for n, v in f.items()}, draws) for kind, f in found.items()}

    everyone, each = np.ones(len(pairs), bool), np.arange(len(pairs))
    of = {region.value: np.array([r is region for _, r in pairs]) for region in Region}
    return {
        "queries": len(pairs),
        "gallery": len(pairs),
        "distinct_captions": len(captions.texts),
        **part(everyone, patients),
        "by_pair": part(everyone, each),
        "by_region": {r: {"queries": int(at.sum()), **part(at, patients)} for r, at in of.items() if at.any()},
    }


def _figures(
    archive: Archive, pairs: Sequence[tuple[int, Region]], captions: CaptionVectors, ks: Sequence[int]
) -> dict[str, dict[str, np.ndarray]]:
    """Return each pair's figures, unmerged and merged."""
    at = {text: i for i, text in enumerate(captions.texts)}
    correct = np.array([at[archive.captions[r][q]] for q, r in pairs])
    copies = np.bincount(correct, minlength=len(captions.texts))
    images = np.stack([archive.vectors[r][q] for q, r in pairs])
    weights = {"unmerged": copies, "merged": np.ones_like(copies)}
    return {kind: ranking_figures(*_bounds(images, captions.vectors, correct, w), ks) for kind, w in weights.items()}


def _pairs(archive: Archive, queries: np.ndarray) -> list[tuple[int, Region]]:
    return [(q, r) for r in Region for q in queries if _usable(archive, q, r)]


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


def _intervals(figures: dict[str, np.ndarray], draws: Bootstrap) -> dict[str, Any]:
    ranks = figures["rank"]
    means = {name: draws.mean(values).as_dict() for name, values in figures.items() if name != "rank"}
    return {**means, "mean_rank": draws.mean(ranks).as_dict(), "median_rank": draws.median(ranks).as_dict()}
