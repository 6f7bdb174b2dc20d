"""What goes over HTTP: the words of the service and of its client, light to import."""

import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from wristmir_ray.anatomy import Region
from wristmir_ray.serving.asking import (
    MAX_DEADLINE_S,
    OF_AN_EXAM,
    BatchQuery,
    ExamId,
    Filters,
    Mode,
    SearchParameters,
    Shape,
    Token,
    check_one_query,
)

__all__ = [
    "MAX_DEADLINE_S",
    "OF_AN_EXAM",
    "ArchiveSummary",
    "BatchAnswer",
    "BatchQuery",
    "Coverage",
    "Exam",
    "ExamId",
    "Filters",
    "Health",
    "Hit",
    "Lineage",
    "Mode",
    "PixelBox",
    "Problem",
    "Readiness",
    "RegionFinding",
    "RegionState",
    "SearchAnswer",
    "SearchParameters",
    "Shape",
    "Token",
    "check_one_query",
]


class RegionState(StrEnum):
    """What became of a hit's region."""

    COMPARED = "compared"
    NO_REGION = "no_region"
    """The bone was not found in its image."""
    PENDING = "pending"
    """It was not computed in time: the hit stands in stage-1 order."""
    SOURCE_UNREADABLE = "source_unreadable"
    """Its image cannot be read now."""
    SOURCE_CHANGED = "source_changed"
    """Its image is another one than was indexed."""


class PixelBox(Shape):
    """A box in pixels of the stored image: xyxy, half-open, origin top-left."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float


class RegionFinding(Shape):
    """What the report said of one region; null where it said nothing."""

    region: Region
    presence: str | None
    fracture_type: str | None
    healing: str | None
    caption: str | None


class Exam(Shape):
    """One exam of the archive, without anything that names a patient."""

    exam_id: str
    laterality: str | None
    view: str | None
    age_years: float | None
    sex: str | None
    study_date: datetime.date | None
    findings: list[RegionFinding]
    boxes: dict[Region, PixelBox] = Field(description="regions that were found")


class Hit(Shape):
    """One similar exam."""

    exam_id: str
    final_rank: int = Field(description="from 1")
    stage1_rank: int | None = Field(description="rank by whole-wrist likeness, from 1; null in mode region")
    global_score: float | None = Field(description="cosine of whole wrists; null where the query or the hit has none")
    region_score: float | None = Field(
        description="cosine of the asked region; null where the hit or the query lacks it"
    )
    laterality: str | None
    view: str | None
    age_years: float | None
    sex: str | None
    study_date: datetime.date | None
    findings: list[RegionFinding]
    caption: str | None = Field(description="what the report said of the asked region")
    box: PixelBox | None = Field(description="the asked region in the hit's image")
    region_state: RegionState | None = Field(
        None, description="what became of the hit's region; null where regions were not asked for"
    )
    lineage: dict[str, str] = Field({}, description="what made the exam's vectors and findings")


class Lineage(Shape):
    """The runs an answer comes from."""

    index: str
    encoder: str
    roi_detector: str
    bone_detector: str
    inputs: dict[str, str] = Field({}, description="tables the index was built from, by run id")


class Coverage(Shape):
    """How much of the pool is settled, where its regions are computed as they are asked for."""

    share: float = Field(description="settled candidates over all; 1 where the answer is complete; never falls")
    pool: int = Field(description="candidates of the first stage")
    compared: int
    no_region: int = Field(description="candidates without that bone, as far as is known")
    unusable: int = Field(description="candidates whose image cannot be read, or is another one than was indexed")
    pending: int


class SearchAnswer(Shape):
    """Hits, best first, and how they were found."""

    hits: list[Hit]
    region: Region
    mode: Mode
    pool: int
    gallery: int = Field(
        description="exams of the archive that the filters allow, without those of a queried exam's patient"
    )
    exactness: str = Field(description="exact, certified, or approximate with its measured recall")
    fallback: str | None = Field(
        description="why hits stand in the order of whole wrists, though another was asked for: "
        "query_region_not_found, or query_source_unreadable, query_source_changed where the queried exam's own bone "
        "had to be computed; null where they stand as asked"
    )
    no_similar_case: bool | None = Field(
        None,
        description="with `only_similar`: true, the hits were left out, for none is like the query; false, the best "
        "is; null, the archive is too small to tell. Without it: null",
    )
    query_boxes: dict[Region, PixelBox] = Field({}, description="regions found in the uploaded image, in its pixels")
    coverage: Coverage | None = Field(None, description="null where nothing had to be computed")
    token: str | None = Field(None, description="to go on with an unfinished answer; null where it is complete")
    stage_ms: dict[str, float] = Field(
        description="milliseconds a stage: decode, detect, encode of the query, filter, coarse, rerank, metadata of "
        "the search, compute of regions that are not stored, scatter and merge of shards; total"
    )
    lineage: Lineage

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        """Travel between the service's parts as JSON: a third of what pickle takes for a hundred small objects."""
        return SearchAnswer.model_validate_json, (self.model_dump_json().encode(),)


class BatchAnswer(Shape):
    """A line that answers a batch's query: hits, or a problem."""

    line: int = Field(description="the query's line, from 1")
    id: str | None = Field(description="the query's own label")
    answer: SearchAnswer | None = None
    problem: "Problem | None" = None


class ArchiveSummary(Shape):
    """What can be searched."""

    name: str
    exams: int
    regions: dict[Region, int] = Field(description="exams in which each region was found")
    modes: list[Mode]
    computed: list[Region] = Field(
        [], description="regions that are not stored but computed for a pool: no mode region for them"
    )
    lineage: Lineage


class Readiness(Shape):
    """Whether the service answers queries now."""

    ready: bool
    lineage: Lineage | None = Field(None, description="the runs that answer; null for who brings no key")


class Health(Shape):
    """The process lives."""

    status: str = "ok"


class Problem(BaseModel):
    """An error as RFC 9457 has it; `code` is stable, `detail` is for people."""

    model_config = ConfigDict(frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
