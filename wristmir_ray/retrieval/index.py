"""The published index, opened: segments searched one by one, their candidates merged, metadata beside the hits."""

import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import NotPublished
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.cut import Share
from wristmir_ray.retrieval.gallery import Candidates, Gallery, Holding
from wristmir_ray.retrieval.layout import DEAD, DESCRIPTION, NAME, SOURCE, Description
from wristmir_ray.retrieval.local import local_rows
from wristmir_ray.retrieval.query import Hit, Prepared, SearchAnswer, SearchRequest
from wristmir_ray.retrieval.segment import Segment, metadata
from wristmir_ray.retrieval.unstored import Source, sources_of
from wristmir_ray.search.merge import gather

__all__ = ["NAME", "Hit", "Index", "SearchAnswer", "SearchRequest", "describe"]

BATCH = 64
"""Queries a matrix product: bounds the score matrix, not the result."""


class Index(Gallery):
    """A published index, or a share of it, opened for reading; replicas on one machine share its pages.

    Args:
        run: its manifest.
        description: what binds its segments.
        segments: in the order of the description.
    """

    def __init__(self, run: storage.Manifest, description: Description, segments: Sequence[Segment]) -> None:
        super().__init__(run, description)
        self.segments = list(segments)
        self._firsts = np.array([s.first for s in self.segments], np.int64)

    @classmethod
    def load(cls, root: str, run_id: str | None = None) -> "Index":
        """Open the published index, or a pinned run of it; from S3 it is copied to a local folder first.

        Raises:
            NotPublished: there is none, one in an earlier layout, or a segment of it is gone.
        """
        return cls.open(root, storage.published(root, NAME, run_id))

    @classmethod
    def open(cls, root: str, run: storage.Manifest, share: Share | None = None) -> "Index":
        """Open a run that is written, or a share of it; raises as `load` does."""
        described = describe(root, run)
        return cls(run, described, _segments(root, run, described, share))

    def __len__(self) -> int:
        return sum(int(s.live.sum()) for s in self.segments)

    def __contains__(self, exam_id: str) -> bool:
        return any(s.row(exam_id) is not None for s in self.segments)

    @property
    def exams(self) -> pa.Table:
        """Metadata of all living exams, by id."""
        parts = [s.exams.filter(pa.array(s.live)) for s in self.segments]
        table = pa.concat_tables(parts, promote_options="permissive").sort_by("exam_id").combine_chunks()
        return table.drop_columns([SOURCE]) if SOURCE in table.column_names else table

    def found(self) -> dict[Region, int]:
        return {r: sum(int((s.found[r] & s.live).sum()) for s in self.segments) for r in Region}

    def counts(self) -> tuple[int, dict[Region, int]]:
        """Return how many exams it holds, and in how many of them each region was found."""
        return len(self), self.found()

    def look(self, exam_id: str) -> Holding | None:
        if exam_id not in self:
            return None
        n, row = self._find(exam_id)
        patient = self.segments[n].exams["patient_id"][row].as_py()  # the whole row takes as long as the hits'
        vectors = {r: v for r in self.stored if (v := self.vector(exam_id, r)) is not None}
        return Holding(self.place(exam_id), patient, vectors)

    def vector(self, exam_id: str, region: Region) -> np.ndarray | None:
        """Return an exam's embedding of a region, or None where it was not found.

        Raises:
            KeyError: no such exam.
        """
        n, row = self._find(exam_id)
        segment = self.segments[n]
        return np.array(segment.vectors[region][row]) if segment.found[region][row] else None

    def exam(self, exam_id: str) -> dict[str, Any]:
        """Return an exam's metadata row; KeyError where there is none."""
        n, row = self._find(exam_id)
        return metadata(self.segments[n], np.array([row]))[0]

    def place(self, exam_id: str) -> tuple[int, int]:
        """Return segment and row of an exam; KeyError where there is none."""
        n, row = self._find(exam_id)
        return n, row + self.segments[n].first

    def rows(self, places_M2: np.ndarray) -> list[dict[str, Any]]:
        here = self._here(places_M2)
        out: list[dict[str, Any]] = [{} for _ in here]
        for n in np.unique(here[:, 0]).tolist():
            at = np.flatnonzero(here[:, 0] == n)
            for i, exam in zip(at.tolist(), metadata(self.segments[n], here[at, 1]), strict=True):
                out[i] = exam
        return out

    def sources(self, places_M2: np.ndarray) -> list[Source]:
        return sources_of(self, self._here(places_M2))

    def ready(self) -> None:
        return

    def search_many(self, requests: Sequence[SearchRequest]) -> list[SearchAnswer]:
        """Return each request's answer, the same as it would get alone; several share a matrix product."""
        out: list[SearchAnswer] = []
        for start in range(0, len(requests), BATCH):
            batch = [self.prepared(r) for r in requests[start : start + BATCH]]
            shared = [self._products(s, batch) if len(batch) > 1 else {} for s in self.segments]
            found = (self.candidates(p, [rows.get(i) for rows in shared]) for i, p in enumerate(batch))
            out += [self.answer(p, f) for p, f in zip(batch, found, strict=True)]
        return out

    def candidates(self, prepared: Prepared, coarse: Sequence[np.ndarray | None] = ()) -> Candidates:
        """Return this index's part of a ranking.

        A shard gives it to whoever merges (`search.gather`, then `search.rank`).
        """
        request, parts, gallery = prepared.request, [], 0
        bounded, recalls = False, []
        ms = {"filter": 0.0, "coarse": 0.0}
        for n, segment in enumerate(self.segments):
            started = time.perf_counter()
            allowed = segment.allowed(prepared.filters, request.region)
            gallery += len(segment.ids) if allowed is None else int(np.count_nonzero(allowed))
            filtered = time.perf_counter()
            part, found = segment.part(prepared.ask, allowed, coarse[n] if coarse else None)
            part.places[:] += (n, segment.first)
            parts.append(part)
            bounded |= found.certified
            scanned = prepared.ask.scanned
            if found.approximate:
                recalls.append(self.description.segments[n].recall[scanned.value])
            ms["filter"] += 1e3 * (filtered - started)
            ms["coarse"] += 1e3 * (time.perf_counter() - filtered)
        merged = gather(parts, prepared.mode, prepared.ask.wanted, prepared.ask.one_a_patient)
        return Candidates(merged, gallery, ms, bounded, min(recalls) if recalls else None)

    def _products(self, segment: Segment, batch: Sequence[Prepared]) -> dict[int, np.ndarray]:
        """Return, by number of the query, its row of the matrix product over the vectors it scans."""
        out: dict[int, np.ndarray] = {}
        for region in Region:
            asking = [i for i, p in enumerate(batch) if p.ask.scanned is region]
            if asking and not segment.is_approximate(region):
                rows = segment.products(np.stack([batch[i].ask.vector for i in asking]), region)
                out |= dict(zip(asking, rows, strict=True))
        return out

    def _find(self, exam_id: str) -> tuple[int, int]:
        """Return segment and row, counted from the first that is held; KeyError where there is none."""
        for n, segment in enumerate(self.segments):
            row = segment.row(exam_id)
            if row is not None:
                return n, row
        raise KeyError(exam_id)

    def _here(self, places_M2: np.ndarray) -> np.ndarray:
        """Return places with rows counted from the first that is held."""
        here: np.ndarray = places_M2.copy()
        here[:, 1] -= self._firsts[places_M2[:, 0]]
        return here


def describe(root: str, run: storage.Manifest) -> Description:
    """Return what binds a run's segments; NotPublished where it has an earlier layout."""
    text = storage.read_bytes(_file(root, run, DESCRIPTION)) if DESCRIPTION in run.files else b"{}"
    found = Description.from_json(text.decode())
    if found is None:
        raise NotPublished(f"index run {run.run_id} under {root} has an earlier layout; run jobs/build_index.py again")
    return found


def _segments(root: str, run: storage.Manifest, described: Description, share: Share | None) -> list[Segment]:
    dead = np.load(io.BytesIO(storage.read_bytes(_file(root, run, DEAD))))
    runs = {e.run: run if e.run == run.run_id else storage.published(root, NAME, e.run) for e in described.segments}
    config = IndexConfig(**run.config.get("index", {}))
    out = []
    for n, entry in enumerate(described.segments):
        rows = share.rows[n] if share else (0, entry.rows)
        folder, first = local_rows(storage.run_uri(root, NAME, entry.run), runs[entry.run], rows, entry.rows)
        gone = dead[entry.run] if entry.run in dead else np.zeros(0, np.int64)
        out.append(Segment(folder, config, Kind(entry.kind), gone, rows, first))
    return out


def _file(root: str, run: storage.Manifest, name: str) -> str:
    return storage.join(storage.run_uri(root, NAME, run.run_id), name)
