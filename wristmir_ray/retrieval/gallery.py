"""What a search asks of an archive, and how it becomes an answer: the same for one opened index and for its shards."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import IndexMismatch
from wristmir_ray.retrieval.layout import SOURCE, Description
from wristmir_ray.retrieval.query import Hit, Prepared, SearchAnswer, SearchRequest, best_score, box_of
from wristmir_ray.retrieval.unstored import Source
from wristmir_ray.search.merge import Mode, Part, rank


@dataclass(frozen=True)
class Holding:
    """What an archive holds of one exam."""

    place: tuple[int, int]
    """Segment and row."""
    patient_id: str | None
    vectors: Mapping[Region, np.ndarray]
    """(D,) float32 of each stored region that was found."""


class Candidates(NamedTuple):
    """One archive's, or one shard's, part of a ranking, and how it was found."""

    part: Part
    """The best `wanted`; places are those of the whole run."""
    gallery: int
    """Exams that the filters allow."""
    ms: Mapping[str, float]
    certified: bool = False
    """Bounds left rows out."""
    recall: float | None = None
    """The worst of the approximate indexes that named rows; None: none did."""

    @property
    def exactness(self) -> str:
        """Return `exact`, `certified` or `approximate(<recall>)`."""
        if self.recall is not None:
            return f"approximate({self.recall:.4f})"
        return "certified" if self.certified else "exact"


class Gallery(ABC):
    """An archive that can be searched. Its primitives are few, and each may be a call to other machines.

    Args:
        run: manifest of the index.
        description: what binds its segments.
    """

    is_local = True
    """Whether its rows are in this process, so that no other machine is asked."""

    def __init__(self, run: storage.Manifest, description: Description) -> None:
        self.run = run
        self.description = description
        self.dim = description.dim
        self.encoder_digest = description.encoder_digest
        self.stored = [r for r in Region if r.value in description.regions]
        """Regions whose vectors it holds; the others are computed when they are asked for (`unstored`)."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many exams it holds."""

    @abstractmethod
    def found(self) -> dict[Region, int]:
        """Return in how many exams each region was found."""

    @abstractmethod
    def look(self, exam_id: str) -> Holding | None:
        """Return what it holds of an exam, or None where there is no such exam."""

    @abstractmethod
    def candidates(self, prepared: Prepared) -> Candidates:
        """Return the candidates of a search."""

    @abstractmethod
    def rows(self, places_M2: np.ndarray) -> list[dict[str, Any]]:
        """Return metadata of exams, in the order of their places."""

    @abstractmethod
    def sources(self, places_M2: np.ndarray) -> list[Source]:
        """Return what the regions of these exams are computed from, in their order."""

    @abstractmethod
    def ready(self) -> None:
        """Raise where a part of it does not answer now."""

    def check_encoder(self, digest: str) -> None:
        """Raise IndexMismatch when queries would be encoded by another model than the archive was."""
        if digest != self.encoder_digest:
            raise IndexMismatch(
                f"index run {self.run.run_id} was built by encoder {self.encoder_digest[:12]}, queries would be "
                f"encoded by {digest[:12]}; run build_index with this encoder, or serve the other one"
            )

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Return the most similar exams.

        Raises:
            KeyError: `exam_id` names no exam of the index.
            ValueError: no vector that the mode could use, or one that is not of unit norm and this width.

        References:
            WristMIR §3.2, App. F.
        """
        prepared = self.prepared(request)
        return self.answer(prepared, self.candidates(prepared))

    def prepared(self, request: SearchRequest) -> Prepared:
        """Return a request over what is stored, checked and settled; raises as `search`."""
        prepared = Prepared.of(self, request)
        if prepared.mode is not Mode.GLOBAL and request.region not in self.stored:
            raise ValueError(f"the index stores no {request.region.words}: it is computed for a pool (`partial`)")
        return prepared

    def answer(self, prepared: Prepared, found: Candidates) -> SearchAnswer:
        """Return the hits among candidates."""
        started = time.perf_counter()
        request, part = prepared.request, found.part
        ranked = rank(part, prepared.mode, request.k, request.one_a_patient)
        hits = part.take(ranked.at)
        unlike = self._unlike(prepared, hits) if request.only_similar else None
        if unlike:
            hits, ranked = hits.take(np.arange(0)), type(ranked)(ranked.at[:0], ranked.stage1_ranks[:0])
        merged = time.perf_counter()
        shown = self.hits(request.region, hits, ranked.stage1_ranks)
        done = time.perf_counter()
        ms = {**found.ms, "rerank": 1e3 * (merged - started), "metadata": 1e3 * (done - merged)}
        return SearchAnswer(shown, found.exactness, prepared.fallback, found.gallery, ms, unlike)

    def _unlike(self, prepared: Prepared, hits: Part) -> bool | None:
        """Return whether the best hit lies below the threshold; None where there is none."""
        threshold = self.description.thresholds.get(f"{prepared.mode.value}/{prepared.request.region.value}")
        return None if threshold is None else bool(best_score(prepared.mode, hits) < threshold)

    def hits(self, region: Region, part: Part, stage1_ranks: np.ndarray) -> list[Hit]:
        """Return ranked candidates with their metadata, best first."""
        out = []
        exams = self.rows(part.places) if len(part.ids) else []
        columns = zip(exams, stage1_ranks, part.global_scores, part.region_scores, strict=True)
        for final, (exam, stage1, seen, local) in enumerate(columns, 1):
            out.append(
                Hit(
                    exam_id=exam["exam_id"],
                    final_rank=final,
                    stage1_rank=int(stage1) or None,
                    global_score=None if np.isnan(seen) else float(seen),
                    region_score=None if np.isnan(local) else float(local),
                    exam=exam,
                    box=box_of(exam, region),
                    lineage=self.description.sources.get(exam.get(SOURCE, ""), {}),
                )
            )
        return out
