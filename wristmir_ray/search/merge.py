"""Candidates of many shards or segments to one ranking: pure, and the same however the gallery is cut.

A *part* holds what one shard found. `gather` keeps the best of several parts and is associative, so
that parts may be merged in any order and in trees; `rank` gives the final order. Ties go to the lower
id, wherever an exam lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from wristmir_ray.search.rerank import rerank


class Mode(StrEnum):
    """How candidates are ranked (WristMIR §3.2, App. F)."""

    TWO_STAGE = "two_stage"
    GLOBAL = "global"
    REGION = "region"


@dataclass(frozen=True)
class Part:
    """Candidates; all arrays have one entry a candidate."""

    ids: np.ndarray
    """Exam ids (bytes), or rows where one gallery is searched: what decides ties."""
    patients: np.ndarray
    """Of any kind that compares; asked for only where hits are collapsed to one a patient."""
    global_scores: np.ndarray
    """float32 cosine of whole wrists; NaN where the query or the candidate has none."""
    region_scores: np.ndarray
    """float32 cosine of the region; NaN likewise."""
    places: np.ndarray
    """(M, 2) int64: segment and row, for the one who made the part."""

    def take(self, at: np.ndarray) -> "Part":
        """Return these candidates, in this order."""
        return Part(*(getattr(self, name)[at] for name in self.__dataclass_fields__))


def gather(parts: Sequence[Part], mode: Mode, wanted: int, one_a_patient: bool = False) -> Part:
    """Return the best candidates of several parts, best first: by region in mode region, else by whole wrist.

    Args:
        parts: at least one; each holds the best `wanted` of its shard (one a patient, where asked).
        mode: whose first ranking is meant.
        wanted: at most this many stay.
        one_a_patient: a patient's best candidate alone stays. In mode two_stage it must be false:
            the pool is one of exams, and `rank` collapses what it has reordered.
    """
    every = Part(*(np.concatenate([getattr(p, n) for p in parts]) for n in Part.__dataclass_fields__))
    key = every.region_scores if mode is Mode.REGION else every.global_scores
    order = np.lexsort((every.ids, -key))
    order = order[~np.isnan(key[order])]
    if one_a_patient:
        order = order[_firsts(every.patients[order])]
    return every.take(order[:wanted])


@dataclass(frozen=True)
class Ranked:
    """The final order of a part's candidates."""

    at: np.ndarray
    """(<= k,) int64, into the part."""
    stage1_ranks: np.ndarray
    """(<= k,) int64 from 1; 0 where stage 1 was not run."""


def rank(part: Part, mode: Mode, k: int, one_a_patient: bool = False) -> Ranked:
    """Return the hits among gathered candidates, best first.

    Args:
        part: as `gather` gives it: in two_stage the pool, else the hits.
        mode: how to rank; global too where a query without the region falls back.
        k: hits wanted.
        one_a_patient: in mode two_stage a patient's best of the reordered pool alone stays.
    """
    ranks = np.zeros(len(part.ids), np.int64) if mode is Mode.REGION else np.arange(1, len(part.ids) + 1)
    at = np.arange(len(part.ids))
    if mode is Mode.TWO_STAGE:
        at = rerank(part.region_scores, np.argsort(np.argsort(part.ids, kind="stable"), kind="stable"))
        if one_a_patient:
            at = at[_firsts(part.patients[at])]
    at = at[:k]
    return Ranked(at, ranks[at])


def _firsts(values: np.ndarray) -> np.ndarray:
    """Return where each value stands first, ascending."""
    firsts: np.ndarray = np.sort(np.unique(values, return_index=True)[1])
    return firsts
