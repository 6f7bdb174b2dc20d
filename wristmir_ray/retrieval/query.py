"""What is asked of an index and what it answers; a request checked and settled."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.segment import Ask
from wristmir_ray.search.merge import Mode, Part
from wristmir_ray.search.two_stage import plan

if TYPE_CHECKING:
    from wristmir_ray.retrieval.gallery import Gallery, Holding

NORM_TOLERANCE = 1e-3
"""How far a query's norm may be from one; the certified scan's proof needs unit vectors."""


@dataclass(frozen=True)
class SearchRequest:
    """One query: vectors of its regions, or an exam of the index (which is then no hit, nor its patient's others)."""

    region: Region
    mode: Mode = Mode.TWO_STAGE
    pool: int = 100
    k: int = 10
    vectors: Mapping[Region, np.ndarray] = field(default_factory=dict)
    """Region -> (D,) float32 unit norm; a text's vector stands for the wrist, the region, or both. Beside `exam_id`: of
    a region that the index does not store."""
    exam_id: str | None = None
    filters: Filters = field(default_factory=Filters)
    own: "Holding | None" = None
    """What the archive holds of `exam_id`, where it was looked up before."""
    one_a_patient: bool = False
    """Of each patient the best hit alone."""
    only_similar: bool = False
    """No hits at all where the best is less like the query than the calibrated threshold (image queries alone)."""


@dataclass(frozen=True)
class Hit:
    """One similar exam."""

    exam_id: str
    final_rank: int
    stage1_rank: int | None
    global_score: float | None
    region_score: float | None
    exam: Mapping[str, Any]
    """Metadata: laterality, view, age_years, sex, and by region caption, presence, fracture_type, healing."""
    box: Box | None
    """The asked region in the hit's source image."""
    lineage: Mapping[str, str]
    """What made this exam's vectors and findings: encoder, detectors, mining, index, by digest or run."""


@dataclass(frozen=True)
class SearchAnswer:
    """Hits, best first, and how they were found."""

    hits: list[Hit]
    exactness: str
    """`exact`, `certified`, or `approximate(<measured recall>)`."""
    fallback: str | None
    gallery: int
    """Exams that the filters allow."""
    stage_ms: Mapping[str, float]
    no_similar_case: bool | None = None
    """Whether the hits were left out, since the best lies below the threshold; None: not asked, or no threshold."""


@dataclass(frozen=True)
class Prepared:
    """A request with its vectors looked up and its mode settled."""

    request: SearchRequest
    mode: Mode
    fallback: str | None
    filters: list[Filters]
    ask: Ask

    @classmethod
    def of(cls, index: "Gallery", request: SearchRequest) -> "Prepared":
        """Check a request and settle how it is answered; raises as `Gallery.search` does."""
        vectors = dict(request.vectors)
        filters = [request.filters]
        if request.exam_id is not None:
            own = request.own or index.look(request.exam_id)
            if own is None:
                raise KeyError(request.exam_id)
            vectors |= {r: own.vectors[r] for r in {Region.WRIST, request.region} & own.vectors.keys()}
            filters.append(Filters(exclude_exam=request.exam_id, exclude_patient=own.patient_id))
        for region, vector in vectors.items():
            if vector.shape != (index.dim,) or not abs(np.linalg.norm(vector) - 1) < NORM_TOLERANCE:
                raise ValueError(f"the query's {region.words} vector must have unit norm and {index.dim} numbers")
        seen, local = (_float32(vectors.get(r)) for r in (Region.WRIST, request.region))
        mode, fallback = plan(request.mode, seen is not None, local is not None)
        wanted = request.pool if mode is Mode.TWO_STAGE else request.k
        collapsed = request.one_a_patient and mode is not Mode.TWO_STAGE
        ask = Ask(seen, local, request.region, mode is Mode.REGION, wanted, collapsed)
        return cls(request, mode, fallback, filters, ask)


def best_score(mode: Mode, hits: Part) -> float:
    """Return the best hit's score of the kind that ordered the hits; -inf where there is none."""
    scores = hits.global_scores if mode is Mode.GLOBAL else hits.region_scores
    scores = scores[~np.isnan(scores)]
    return float(scores.max()) if len(scores) else -np.inf


def box_of(exam: Mapping[str, Any], region: Region) -> Box | None:
    """Return where a region lies in an exam's source image, from its metadata."""
    corners = exam[f"{region.value}_box"]
    return Box(*corners) if corners else None


def _float32(vector: np.ndarray | None) -> np.ndarray | None:
    return None if vector is None else np.ascontiguousarray(vector, np.float32)
