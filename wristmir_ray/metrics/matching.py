"""Do the hits share the query's label (WristMIR §4.2)?"""

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
    one_hot = hits_QK[:, :, None] == np.arange(num_classes)
    votes = one_hot.sum(1).astype(float)
    k = hits_QK.shape[1]
    first = np.where(one_hot.any(1), one_hot.argmax(1), k)  # rank of the label's best hit
    winner = (votes - first / (k + 1)).argmax(1)
    return np.where(votes.sum(1) > 0, winner, -1)


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
