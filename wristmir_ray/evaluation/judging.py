"""Do the hits of a query say what its own report says? And what would blind hits say?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from wristmir_ray.evaluation.archive import CLASSES, NO_HIT, UNLABELLED
from wristmir_ray.metrics.bootstrap import Bootstrap, Interval, Sampled, percentiles
from wristmir_ray.metrics.matching import diagnosis, f1_score, majority_vote, match_share

F1 = "diagnosis_f1"


@dataclass(frozen=True)
class Judged:
    """One region and mode, judged query by query (labelled queries only)."""

    truth: np.ndarray
    """(Q,) bool: the query's report names a fracture."""
    predicted: np.ndarray
    """(Q,) bool: more than half of the labelled hits have one (diagnosis by retrieval)."""
    shares: Mapping[str, np.ndarray]
    """Figure -> (Q,) float, NaN where a query has none: over all queries, and over the positive ones."""

    def sampled(self, draws: Bootstrap) -> dict[str, Sampled]:
        """Return every figure with its draws."""
        means = {name: draws.mean(values) for name, values in self.shares.items()}
        return {F1: draws.f1(self.truth, self.predicted), **means}

    def figures(self) -> dict[str, float]:
        """Return every figure; NaN where no query has it."""
        means = {n: float(v[~np.isnan(v)].mean()) if (~np.isnan(v)).any() else np.nan for n, v in self.shares.items()}
        return {F1: f1_score(self.truth, self.predicted), **means}


def judge(present_N: np.ndarray, classes_N: np.ndarray, queries: np.ndarray, rows_QK: np.ndarray) -> Judged:
    """Judge the hits of labelled queries by binary and by class label.

    An unlabelled hit (uncertain, or without caption) neither matches nor votes: shares are over the
    labelled hits. A query whose hits are all unlabelled has no share, and is diagnosed negative.

    Args:
        present_N: (N,) int, 1 fracture, 0 none, -1 unlabelled.
        classes_N: (N,) int, index into CLASSES, -1 unlabelled.
        queries: (Q,) rows of the archive.
        rows_QK: (Q, K) rows of their hits, best first; NO_HIT where there are fewer.
    """
    labelled = present_N[queries] != UNLABELLED
    asked, hits = queries[labelled], rows_QK[labelled]
    binary, kinds = _labels(present_N, hits), _labels(classes_N, hits)
    vote = majority_vote(kinds, len(CLASSES))
    shares = {
        "binary_match": match_share(present_N[asked], binary),
        "class_match": match_share(classes_N[asked], kinds),
        "vote_accuracy": np.where(vote == UNLABELLED, np.nan, vote == classes_N[asked]),
    }
    truth = present_N[asked] == 1
    positive = {f"positive_{name}": np.where(truth, values, np.nan) for name, values in shares.items()}
    return Judged(truth, diagnosis(binary), {**shares, **positive})


def _labels(labels_N: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
    return np.where(rows_QK == NO_HIT, UNLABELLED, labels_N[rows_QK])


def difference(a: Judged, b: Judged, draws: Bootstrap) -> dict[str, Sampled]:
    """Return a - b for every figure, query by query and draw by draw (paired)."""
    means = {name: draws.mean(values - b.shares[name]) for name, values in a.shares.items()}
    return {F1: draws.f1(a.truth, a.predicted) - draws.f1(b.truth, b.predicted), **means}


def chance_level(
    present_N: np.ndarray, classes_N: np.ndarray, queries: np.ndarray, rows_QK: np.ndarray, shuffles: int, seed: int
) -> dict[str, Interval]:
    """Return what the same hits would reach if labels had nothing to do with images.

    The labels of the labelled queries are shuffled among them and the hits judged again: mean, and
    the 2.5th and 97.5th percentile, over the shuffles. A search that sees nothing of the label lies
    between these; hubs (exams that are everyone's hit) widen the range as they widen the figure's.

    Args:
        present_N, classes_N, queries, rows_QK: as in `judge`.
        shuffles: how many.
        seed: of the shuffles.
    """
    rng = np.random.default_rng(seed)
    labelled = queries[present_N[queries] != UNLABELLED]
    shuffled_present, shuffled_classes = present_N.copy(), classes_N.copy()
    found: dict[str, list[float]] = {}
    for _ in range(shuffles):
        source = rng.permutation(labelled)
        shuffled_present[labelled], shuffled_classes[labelled] = present_N[source], classes_N[source]
        judged = judge(shuffled_present, shuffled_classes, queries, rows_QK)
        counts = {F1: len(labelled), **{n: int((~np.isnan(v)).sum()) for n, v in judged.shares.items()}}
        for name, value in judged.figures().items():
            found.setdefault(name, []).append(value)
    return {name: _level(np.asarray(values), counts[name]) for name, values in found.items()}


def _level(values: np.ndarray, n: int) -> Interval:
    known = values[~np.isnan(values)]
    return percentiles(float(known.mean()) if len(known) else np.nan, values, n)
