"""What is measured on validation patients after each epoch: pure arrays."""

import numpy as np

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.metrics.matching import positive_share
from wristmir_ray.metrics.ranking import rank_bounds, recall_at

_REGIONS = list(Region)


def caption_recall(image_ND: np.ndarray, text_UD: np.ndarray, caption_N: np.ndarray, k: int) -> float:
    """Return the share of images whose own caption is among the k nearest distinct captions.

    Merged image->text Recall@k of DESIGN 6; equal scores stand in random order.

    Args:
        image_ND: (N, D) unit norm.
        text_UD: (U, D) unit norm, distinct captions.
        caption_N: (N,) row of each image's caption.
    """
    return float(recall_at(*rank_bounds(image_ND @ text_UD.T, caption_N), k).mean())


def label_match(embedding_ND: np.ndarray, label_N: np.ndarray, k: int) -> float | None:
    """Return, over the positive queries, the mean share of positives among their k nearest others.

    Args:
        embedding_ND: (N, D) unit norm, of one region.
        label_N: (N,) 1 positive, 0 negative; -1 is left out, as query and as hit.

    Returns:
        A share in [0, 1]; None with fewer than two positives or no more than k rows.
    """
    known = label_N >= 0
    embedding_ND, label_N = embedding_ND[known], label_N[known]
    queries = np.flatnonzero(label_N == 1)
    if len(queries) < 2 or len(label_N) <= k:
        return None
    scores_QN = embedding_ND[queries] @ embedding_ND.T
    scores_QN[np.arange(len(queries)), queries] = -np.inf
    hits_Qk = np.argsort(-scores_QN, axis=1, kind="stable")[:, :k]
    return float(positive_share(label_N[hits_Qk]).mean())


def bone_matches(image_ND: np.ndarray, region_N: np.ndarray, label_N: np.ndarray, k: int) -> dict[str, float | None]:
    """Return `label_match` for each bone's crops, and their mean under `mean`."""
    found = {}
    for region in BONES:
        of_region = region_N == _REGIONS.index(region)
        found[region.value] = label_match(image_ND[of_region], label_N[of_region], k)
    known = [v for v in found.values() if v is not None]
    return {**found, "mean": float(np.mean(known)) if known else None}
