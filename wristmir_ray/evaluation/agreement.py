"""What stage 1 is for: do the hits share the query's side, and how far are they in age (App. F)?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Side
from wristmir_ray.evaluation.archive import NO_HIT, Archive
from wristmir_ray.metrics.bootstrap import Bootstrap
from wristmir_ray.metrics.matching import match_share, mean_gap

SAME_SIDE = "same_side_share"
AGE_GAP = "age_gap_years"
_SIDES = list(Side)
_BLOCK = 256


def agreement(
    archive: Archive, queries: np.ndarray, rows_by_mode: Mapping[str, np.ndarray], draws: Bootstrap
) -> dict[str, Any]:
    """Return the share of same-side hits and the mean age gap by mode, and two-stage minus region-only.

    Args:
        archive: the exams.
        queries: (Q,) rows.
        rows_by_mode: mode -> (Q, K) rows of the hits; it holds `two_stage` and `region_only`.
        draws: the bootstrap over these queries.
    """
    found = {mode: _by_query(archive, queries, rows) for mode, rows in rows_by_mode.items()}
    out = {mode: _figures(values, draws) for mode, values in found.items()}
    two, only = found["two_stage"], found["region_only"]
    return {**out, "two_stage_minus_region_only": _figures({n: two[n] - only[n] for n in two}, draws)}


def agreement_by_chance(archive: Archive, queries: np.ndarray, draws: Bootstrap) -> dict[str, Any]:
    """Return the same of hits drawn blindly from other patients: the mean over the query's whole gallery."""
    parts = []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        own = archive.patients[block][:, None] == archive.patients[queries]
        parts.append(_by_query(archive, block, np.where(own, NO_HIT, queries)))
    return _figures({name: np.concatenate([p[name] for p in parts]) for name in (SAME_SIDE, AGE_GAP)}, draws)


def _by_query(archive: Archive, queries: np.ndarray, rows_QK: np.ndarray) -> dict[str, np.ndarray]:
    """Return (Q,) figures; NaN where the query's side or age, or that of all its hits, is unknown."""
    missing_QK = rows_QK == NO_HIT
    codes_N = np.array([_SIDES.index(s) if s in _SIDES else -1 for s in archive.sides])
    share_Q = match_share(codes_N[queries], np.where(missing_QK, -1, codes_N[rows_QK]))
    ages_QK = np.where(missing_QK, np.nan, archive.ages_years[rows_QK])
    return {
        SAME_SIDE: np.where(codes_N[queries] == -1, np.nan, share_Q),
        AGE_GAP: mean_gap(archive.ages_years[queries], ages_QK),
    }


def _figures(values: Mapping[str, np.ndarray], draws: Bootstrap) -> dict[str, Any]:
    return {name: draws.mean(v).as_dict() for name, v in values.items()}
