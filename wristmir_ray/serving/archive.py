"""One generation of the archive: an index, the crops behind it, and their words over HTTP."""

from collections.abc import Mapping
from typing import Any, Self

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.retrieval import index as retrieval
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.schemas import CROPS
from wristmir_ray.search import Mode
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.lineage import Pins, pins_of
from wristmir_ray.serving.service import Query, pixel_box
from wristmir_ray.storage import KeyedReader


class Archive:
    """Answers queries, and for single exams. Immutable: another index is another Archive.

    Args:
        name: what the archive is called.
        index: the opened index.
        crops: reads one exam's crops.
        pins: the runs behind both.
    """

    def __init__(self, name: str, index: retrieval.Index, crops: KeyedReader, pins: Pins) -> None:
        self._name = name
        self._index = index
        self._crops = crops
        self._pins = pins

    @classmethod
    def load(cls, args: ServeArgs, started_with: Pins, index_run: str | None) -> Self:
        """Open a run of the index (default: the one the service started with).

        Raises:
            NotPublished: it, or something it was built from, is missing.
            IndexMismatch: the loaded encoder and detectors do not fit it.
        """
        pins = pins_of(args, index_run or started_with.lineage.index)
        started_with.check_same_models(pins)
        index = retrieval.Index.load(args.root, pins.lineage.index)
        index.check_encoder(started_with.encoder_digest)
        return cls(args.name, index, KeyedReader(args.root, CROPS, pins.crops), pins)

    def search(self, query: Query) -> api.SearchAnswer | api.Problem:
        """Return the hits of one query; a problem where it names an unknown exam."""
        p = query.parameters
        if query.exam_id is not None and query.exam_id not in self._index:
            return problems.unknown_exam()
        if not self._can_ask(query):
            return problems.no_vector()
        found = self._index.search(
            retrieval.SearchRequest(
                region=p.region,
                mode=Mode(p.mode.value),
                pool=p.pool,
                k=p.k,
                vectors=query.vectors,
                exam_id=query.exam_id,
                filters=_filters(p),
                one_a_patient=p.one_a_patient,
                only_similar=p.only_similar,
            )
        )
        return api.SearchAnswer(
            hits=[_hit(h, p.region) for h in found.hits],
            region=p.region,
            mode=p.mode,
            pool=p.pool,
            gallery=found.gallery,
            exactness=found.exactness,
            fallback=found.fallback,
            no_similar_case=found.no_similar_case,
            stage_ms=dict(found.stage_ms),
            lineage=self._pins.lineage,
        )

    def _can_ask(self, query: Query) -> bool:
        """Return whether a vector of the query is there: an exam may lack its wrist, an upload never does."""
        if query.exam_id is None:
            return bool(query.vectors)
        wanted = {Region.WRIST, query.parameters.region}
        return any(self._index.vector(query.exam_id, r) is not None for r in wanted)

    def summary(self) -> api.ArchiveSummary:
        """Return what can be searched."""
        return api.ArchiveSummary(
            name=self._name,
            exams=len(self._index),
            regions=self._index.found(),
            modes=list(api.Mode),
            lineage=self._pins.lineage,
        )

    def exam(self, exam_id: str) -> api.Exam | api.Problem:
        """Return one exam's facts, without its patient."""
        if exam_id not in self._index:
            return problems.unknown_exam()
        row = self._index.exam(exam_id)
        boxes = {region: self._index.box(exam_id, region) for region in Region}
        return api.Exam(
            **{name: row[name] for name in ("exam_id", "laterality", "view", "age_years", "sex")},
            findings=_findings(row),
            boxes={region: pixel_box(box) for region, box in boxes.items() if box is not None},
        )

    def exams_run(self, exam_id: str) -> str | api.Problem:
        """Return the run of EXAMS that says where an exam's image lies; a problem where there is no such exam."""
        return self._pins.exams if exam_id in self._index else problems.unknown_exam()

    def crop(self, exam_id: str, region: Region) -> bytes | api.Problem:
        """Return one region's crop as PNG; a problem where the exam or the region is not there."""
        if exam_id not in self._index:
            return problems.unknown_exam()
        for row in self._crops.rows(exam_id):
            if row["region"] == region and row["png"] is not None:
                return bytes(row["png"])
        return problems.unknown_region()


def _filters(p: api.Filters) -> Filters:
    return Filters(
        laterality=p.laterality,
        view=p.view,
        sex=p.sex,
        age_min_years=p.age_min,
        age_max_years=p.age_max,
        date_from=p.date_from,
        date_to=p.date_to,
        fracture_type=p.fracture_type,
    )


def _findings(row: Mapping[str, Any]) -> list[api.RegionFinding]:
    return [
        api.RegionFinding(
            region=region,
            **{n: row[f"{region.value}_{n}"] for n in ("presence", "fracture_type", "healing", "caption")},
        )
        for region in Region
    ]


def _hit(hit: retrieval.Hit, region: Region) -> api.Hit:
    box: Box | None = hit.box
    return api.Hit(
        exam_id=hit.exam_id,
        final_rank=hit.final_rank,
        stage1_rank=hit.stage1_rank,
        global_score=hit.global_score,
        region_score=hit.region_score,
        **{name: hit.exam[name] for name in ("laterality", "age_years", "sex")},
        findings=_findings(hit.exam),
        caption=hit.exam[f"{region.value}_caption"],
        box=None if box is None else pixel_box(box),
        lineage=dict(hit.lineage),
    )
