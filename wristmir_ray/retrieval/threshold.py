"""When is a best hit no similar case? A threshold with a promised error rate, calibrated on the archive itself.

Exams of the archive that the encoder has not learned from (splits val and test), one a patient, are asked
with their own patient left out; the best hit's score of each is a calibration score s. With n of them the
threshold is the j-th lowest, j = floor(alpha (n + 1)).
A new query that is exchangeable with them (an image of the same kind of patient, unfiltered, the same
pool) then falls below it with a probability of at most alpha and, where scores do not tie, more than
alpha - 1 / (n + 1): split conformal prediction. A text is no such query, nor is a filtered search.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from wristmir_ray.anatomy import BONES, Region, Split
from wristmir_ray.retrieval.query import Prepared, SearchRequest, best_score
from wristmir_ray.search.merge import Mode, rank

if TYPE_CHECKING:
    from wristmir_ray.retrieval.index import Index
    from wristmir_ray.retrieval.segment import Segment

KINDS = [
    *((Mode.GLOBAL, r) for r in Region),
    *((Mode.TWO_STAGE, r) for r in BONES),
    *((Mode.REGION, r) for r in Region),
]


def conformal(scores: Sequence[float], alpha: float) -> float:
    """Return the threshold under which at most a share `alpha` of exchangeable scores falls; -inf if n is small."""
    j = int(np.floor(alpha * (len(scores) + 1)))
    return float(np.sort(np.asarray(scores))[j - 1]) if j >= 1 else -np.inf


def calibrate(index: "Index", alpha: float, queries: int, pool: int, seed: int = 0) -> dict[str, float]:
    """Return `<mode>/<region>` -> threshold, for every kind of search that its archive can calibrate.

    Args:
        index: opened.
        alpha: the promised error rate.
        queries: patients that are asked at most.
        pool: of two-stage searches.
        seed: of the choice.
    """
    asked = _one_a_patient(index, queries, seed)
    out = {}
    whole: list[float] = []
    for mode, region in KINDS:
        if mode is Mode.GLOBAL and whole:  # the same search whatever the bone
            scores = whole
        else:
            found = (_best(index, e, mode, region, pool) for e in asked)
            scores = [s for s in found if s is not None]
        whole = scores if mode is Mode.GLOBAL else whole
        value = conformal(scores, alpha)
        if np.isfinite(value):
            out[f"{mode.value}/{region.value}"] = value
    return out


def _one_a_patient(index: "Index", queries: int, seed: int) -> list[str]:
    """Return unlearned exams of different patients, drawn by chance: exams of one patient are not exchangeable.

    An encoder knows the patients of split train better than any new one: their best hits score higher.
    """
    rows = [np.flatnonzero(s.live & _unlearned(s)) for s in index.segments]
    patients = np.concatenate([s.columns.patients(at) for s, at in zip(index.segments, rows, strict=True)])
    ids = np.concatenate([s.ids[at] for s, at in zip(index.segments, rows, strict=True)])
    order = np.argsort(ids)
    mixed = np.random.default_rng(seed).permutation(order)
    firsts = np.sort(np.unique(patients[mixed], return_index=True)[1])[:queries]
    return [i.decode() for i in ids[mixed][firsts].tolist()]


def _unlearned(segment: "Segment") -> np.ndarray:
    return np.asarray(pc.not_equal(segment.exams["split"], Split.TRAIN.value).fill_null(False))


def _best(index: "Index", exam_id: str, mode: Mode, region: Region, pool: int) -> float | None:
    """Return the best hit's score, or None where the exam cannot ask so."""
    seen = Region.WRIST if mode is Mode.GLOBAL else region
    needed = {seen} if mode is Mode.REGION else {seen, Region.WRIST}
    if any(index.vector(exam_id, r) is None for r in needed):
        return None
    prepared = Prepared.of(index, SearchRequest(region, mode, pool, 10, exam_id=exam_id))
    part = index.candidates(prepared).part
    return best_score(mode, part.take(rank(part, prepared.mode, 10).at))
