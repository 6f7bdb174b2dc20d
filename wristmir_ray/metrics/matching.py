"""Do the hits share the query's label, side, age (WristMIR §4.2, App. F)?"""

import numpy as np


def match_share(query_Q: np.ndarray, hits_QK: np.ndarray) -> np.ndarray:
    """Return each query's share of hits with its label.

    Args:
        query_Q: (Q,) labels, any comparable dtype.
        hits_QK: (Q, K) labels of the hits, best first; -1 marks a hit that is missing or unlabelled.

    Returns:
        (Q,) float in [0, 1] over the labelled hits; NaN where a query has none.
    """
    valid_QK = hits_QK != -1
    same_QK = (hits_QK == query_Q[:, None]) & valid_QK
    count = valid_QK.sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(count > 0, same_QK.sum(1) / count, np.nan)


def majority_vote(hits_QK: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the commonest label of each query's hits; ties go to the label of the better hit.

    Args:
        hits_QK: (Q, K) int labels, best first; -1 is no vote.
        num_classes: labels are 0 .. num_classes - 1.

    Returns:
        (Q,) int; -1 where no hit has a label.
    """
    queries, k = hits_QK.shape
    query, rank = np.nonzero(hits_QK != -1)
    label = hits_QK[query, rank]
    cell = query * num_classes + label
    votes_QL = np.bincount(cell, minlength=queries * num_classes).reshape(queries, num_classes).astype(float)
    best_QL = np.full(votes_QL.shape, k)  # rank of the label's best hit
    np.minimum.at(best_QL, (query, label), rank)
    winner_Q = (votes_QL - best_QL / (k + 1)).argmax(1)
    return np.where(votes_QL.sum(1) > 0, winner_Q, -1)


def positive_share(hits_QK: np.ndarray) -> np.ndarray:
    """Return each query's share of hits labelled 1, over the labelled ones; NaN without any."""
    return match_share(np.ones(len(hits_QK), int), hits_QK)


def f1_score(truth_Q: np.ndarray, predicted_Q: np.ndarray) -> float:
    """Return F1 of the positive class; 0 where nothing is positive or predicted so."""
    both = float(np.sum(truth_Q & predicted_Q))
    total = float(np.sum(truth_Q) + np.sum(predicted_Q))
    return 2 * both / total if total else 0.0


def diagnosis(hits_QK: np.ndarray) -> np.ndarray:
    """Return the diagnosis by retrieval: positive where more than half of the hits are (DESIGN: diagnosis F1)."""
    positive_Q: np.ndarray = np.nan_to_num(positive_share(hits_QK), nan=0.0) > 0.5
    return positive_Q


def mean_gap(query_Q: np.ndarray, hits_QK: np.ndarray) -> np.ndarray:
    """Return each query's mean absolute difference from its hits, e.g. of ages in years.

    Args:
        query_Q: (Q,) float; NaN is unknown.
        hits_QK: (Q, K) float; NaN marks a hit that is missing or unknown.

    Returns:
        (Q,) float over the known hits; NaN where there is none.
    """
    gaps_QK = np.abs(hits_QK - query_Q[:, None])
    known_QK = ~np.isnan(gaps_QK)
    with np.errstate(invalid="ignore"):
        mean_Q: np.ndarray = np.where(known_QK, gaps_QK, 0.0).sum(1) / known_QK.sum(1)
    return mean_Q
