"""One generation of the archive: an index, the crops behind it, and their words over HTTP."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import WristmirError
from wristmir_ray.retrieval import query as retrieval
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.gallery import Gallery
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.unstored import Known, Source, State
from wristmir_ray.schemas import CROPS
from wristmir_ray.search import Mode
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import SearchSettings, ServeArgs
from wristmir_ray.serving.lineage import Pins, pins_of
from wristmir_ray.serving.service import Query, pixel_box
from wristmir_ray.storage import KeyedReader

log = logging.getLogger(__name__)

DEFAULT_KNOWN = SearchSettings().known_rows
SHORT = 16_000_000
"""Numbers a region up to which a search is short: two milliseconds, about what it takes to write its answer."""
SHORT_HITS, SHORT_POOL = 100, 1_000
"""Up to which so is what becomes of its candidates."""

T = TypeVar("T")


class Archive:
    """Answers queries, and for single exams. Immutable: another index is another Archive.

    Args:
        name: what the archive is called.
        index: the opened index, or its shards.
        crops: reads one exam's crops; None: the index does not store every region, and crops are cut anew.
        pins: the runs behind both.
    """

    def __init__(
        self, name: str, index: Gallery, crops: KeyedReader | None, pins: Pins, known: Known | None = None
    ) -> None:
        self._name = name
        self.index = index
        self._crops = crops
        self.pins = pins
        self.known = known or Known(index, DEFAULT_KNOWN)
        self._is_short = index.is_local and len(index) * index.dim <= SHORT
        self._turns = asyncio.Lock()

    @classmethod
    def load(
        cls,
        args: ServeArgs,
        started_with: Pins,
        settings: SearchSettings,
        opened: Callable[[str, str], Gallery] = Index.load,
    ) -> Self:
        """Open a run of the index (default: the one the service started with).

        Args:
            args: of the service.
            started_with: its runs.
            settings: of this generation.
            opened: (root, run) -> the index.

        Raises:
            NotPublished: it, or something it was built from, is missing.
            IndexMismatch: the loaded encoder and detectors do not fit it.
        """
        pins = pins_of(args, settings.index_run or started_with.lineage.index)
        started_with.check_same_models(pins)
        index = opened(args.root, pins.lineage.index)
        index.check_encoder(started_with.encoder_digest)
        crops = KeyedReader(args.root, CROPS, pins.crops) if len(index.stored) == len(Region) else None
        return cls(args.name, index, crops, pins, Known(index, settings.known_rows))

    def is_short(self, asked: api.SearchParameters) -> bool:
        """Return whether a search may stay on the event loop: with a thread for it, it costs a quarter more."""
        return self._is_short and asked.k <= SHORT_HITS and asked.pool <= SHORT_POOL

    async def here(self, work: Callable[..., T], *args: Any) -> T:
        """Do what is short on the event loop, one such thing a turn of it: others have theirs in between."""
        async with self._turns:
            await asyncio.sleep(0)
            return work(*args)

    def search(self, query: Query) -> api.SearchAnswer | api.Problem:
        """Return the hits of one query over what the index stores; a problem where it cannot be asked."""
        request = self.request(query)
        if isinstance(request, api.Problem):
            return request
        return self.answer(query.parameters, self.index.search(request))

    def request(self, query: Query) -> retrieval.SearchRequest | api.Problem:
        """Return a query in the index's words, an exam's own vectors looked up; a problem where it cannot be asked."""
        p = query.parameters
        own = None if query.exam_id is None else self.index.look(query.exam_id)
        if query.exam_id is not None and own is None:
            return problems.unknown_exam()
        if p.region not in self.index.stored and p.mode is api.Mode.REGION:
            return problems.not_stored(p.region)
        if p.region not in self.index.stored and p.mode is api.Mode.TWO_STAGE and p.only_similar:
            return problems.not_calibrated()
        of_use = {Region.WRIST, p.region} if p.mode is api.Mode.REGION else {Region.WRIST}
        if not of_use & (query.vectors if own is None else own.vectors).keys():
            return problems.no_vector()  # an exam may lack its wrist, an upload never does
        return retrieval.SearchRequest(
            region=p.region,
            mode=Mode(p.mode.value),
            pool=p.pool,
            k=p.k,
            vectors=query.vectors,
            exam_id=query.exam_id,
            own=own,
            filters=_filters(p),
            one_a_patient=p.one_a_patient,
            only_similar=p.only_similar,
        )

    def answer(
        self, p: api.SearchParameters, found: retrieval.SearchAnswer, states: Sequence[State] = ()
    ) -> api.SearchAnswer:
        """Return what the index found in the words of HTTP.

        Args:
            p: of the query.
            found: what it found.
            states: one a hit, where regions were computed for it.
        """
        asked = p.mode is not api.Mode.GLOBAL and found.fallback is None
        given = states or [State.NO_REGION if h.region_score is None else State.COMPARED for h in found.hits]
        told = [api.RegionState(s.name.lower()) if asked else None for s in given]
        return api.SearchAnswer(
            hits=[_hit(h, p.region, state) for h, state in zip(found.hits, told, strict=True)],
            region=p.region,
            mode=p.mode,
            pool=p.pool,
            gallery=found.gallery,
            exactness=found.exactness,
            fallback=found.fallback,
            no_similar_case=found.no_similar_case,
            stage_ms=dict(found.stage_ms),
            lineage=self.pins.lineage,
        )

    def source(self, exam_id: str) -> Source | api.Problem:
        """Return what an exam's regions are computed from; a problem where the archive holds no such exam."""
        held = self.index.look(exam_id)
        return problems.unknown_exam() if held is None else self.index.sources(np.array([held.place]))[0]

    def ready(self) -> api.ArchiveSummary:
        """Return what can be searched; ProblemError where a shard of it does not answer."""
        self.index.ready()
        return self.summary()

    def summary(self) -> api.ArchiveSummary:
        """Return what can be searched."""
        return api.ArchiveSummary(
            name=self._name,
            exams=len(self.index),
            regions=self.index.found(),
            modes=list(api.Mode),
            computed=[r for r in Region if r not in self.index.stored],
            lineage=self.pins.lineage,
        )

    def exam(self, exam_id: str) -> api.Exam | api.Problem:
        """Return one exam's facts, without its patient."""
        held = self.index.look(exam_id)
        if held is None:
            return problems.unknown_exam()
        (row,) = self.index.rows(np.array([held.place]))
        boxes = {region: retrieval.box_of(row, region) for region in Region}
        return api.Exam(
            exam_id=exam_id,
            **_facts(row),
            findings=_findings(row),
            boxes={region: pixel_box(box) for region, box in boxes.items() if box is not None},
        )

    def exams_run(self, exam_id: str) -> str | api.Problem:
        """Return the run of EXAMS that says where an exam's image lies; a problem where there is no such exam."""
        return self.pins.exams if self.index.look(exam_id) else problems.unknown_exam()

    def crop(self, exam_id: str, region: Region) -> bytes | api.Problem:
        """Return one region's crop as PNG; a problem where the exam or the region is not there."""
        if self.index.look(exam_id) is None:
            return problems.unknown_exam()
        try:
            rows = self._crops.rows(exam_id) if self._crops else []
        except (WristmirError, OSError) as e:  # the message may hold addresses
            log.error("a crop could not be read", extra={"fields": {"reason": type(e).__name__}})
            return problems.store_away()
        for row in rows:
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


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an exam is filtered by. An age is told to a hundredth of a year, as is float32's 12.4."""
    age = row["age_years"]
    told = {name: row[name] for name in ("laterality", "view", "sex", "study_date")}
    return {**told, "age_years": None if age is None else round(age, 2)}


def _findings(row: Mapping[str, Any]) -> list[api.RegionFinding]:
    return [
        api.RegionFinding(
            region=region,
            **{n: row[f"{region.value}_{n}"] for n in ("presence", "fracture_type", "healing", "caption")},
        )
        for region in Region
    ]


def _hit(hit: retrieval.Hit, region: Region, state: api.RegionState | None) -> api.Hit:
    box: Box | None = hit.box
    return api.Hit(
        exam_id=hit.exam_id,
        final_rank=hit.final_rank,
        stage1_rank=hit.stage1_rank,
        global_score=hit.global_score,
        region_score=hit.region_score,
        **_facts(hit.exam),
        findings=_findings(hit.exam),
        caption=hit.exam[f"{region.value}_caption"],
        box=None if box is None else pixel_box(box),
        region_state=state,
        lineage=dict(hit.lineage),
    )
