"""The second stage: one region orders the candidates of the first (WristMIR §3.2, Eq. 4)."""

import numpy as np


def rerank(region_scores_P: np.ndarray, rows_P: np.ndarray) -> np.ndarray:
    """Return the order of a pool by region score; rows without one follow in stage-1 order.

    Equal scores stand in row order, as in the first stage, so that a pool of the whole gallery
    gives the order of a search by the region alone.

    Args:
        region_scores_P: (P,) float32 in stage-1 order; NaN = the candidate lacks the region.
        rows_P: (P,) int, the candidates' rows.

    Returns:
        (P,) int64, a permutation.
    """
    missing_P = np.isnan(region_scores_P)
    stage1_P = np.arange(len(rows_P))
    order_P: np.ndarray = np.lexsort((np.where(missing_P, stage1_P, rows_P), -region_scores_P, missing_P))
    return order_P
