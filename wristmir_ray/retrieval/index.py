"""The published index, opened: segments searched one by one, their candidates merged, metadata beside the hits."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import storage
from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import IndexMismatch, NotPublished
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.layout import DEAD, DESCRIPTION, NAME, SOURCE, Description
from wristmir_ray.retrieval.local import local_folder
from wristmir_ray.retrieval.query import Hit, Prepared, SearchAnswer, SearchRequest, best_score, box_of
from wristmir_ray.retrieval.segment import Segment, metadata
from wristmir_ray.search.merge import Mode, Part, gather, rank

__all__ = ["NAME", "Hit", "Index", "SearchAnswer", "SearchRequest", "open_segments"]

BATCH = 64
"""Queries a matrix product: bounds the score matrix, not the result."""


class Index:
    """A published index, opened for reading; replicas on one machine share its pages.

    Args:
        run: its manifest.
        description: what binds its segments.
        segments: in the order of the description.
    """

    def __init__(self, run: storage.Manifest, description: Description, segments: Sequence[Segment]) -> None:
        self.run = run
        self.description = description
        self.segments = list(segments)
        self.dim = description.dim
        self.encoder_digest = description.encoder_digest
        self.stored = [r for r in Region if r.value in description.regions]
        """Regions whose vectors it holds; the others are computed when they are asked for (`unstored`)."""

    @classmethod
    def load(cls, root: str, run_id: str | None = None) -> "Index":
        """Open the published index, or a pinned run of it; from S3 it is copied to a local folder first.

        Raises:
            NotPublished: there is none, one in an earlier layout, or a segment of it is gone.
        """
        return cls.open(root, storage.published(root, NAME, run_id))

    @classmethod
    def open(cls, root: str, run: storage.Manifest) -> "Index":
        """Open a run that is written; raises as `load` does."""
        folder = local_folder(storage.run_uri(root, NAME, run.run_id), run)
        found = Description.from_json((folder / DESCRIPTION).read_text()) if DESCRIPTION in run.files else None
        if found is None:
            raise NotPublished(
                f"index run {run.run_id} under {root} has an earlier layout; run jobs/build_index.py again"
            )
        runs = {e.run: run if e.run == run.run_id else storage.published(root, NAME, e.run) for e in found.segments}
        folders = {r: local_folder(storage.run_uri(root, NAME, r), m) for r, m in runs.items()}
        return cls(run, found, open_segments(found, folder, folders, _settings(run)))

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

    def check_encoder(self, digest: str) -> None:
        """Raise IndexMismatch when queries would be encoded by another model than the archive was."""
        if digest != self.encoder_digest:
            raise IndexMismatch(
                f"index run {self.run.run_id} was built by encoder {self.encoder_digest[:12]}, queries would be "
                f"encoded by {digest[:12]}; run build_index with this encoder, or serve the other one"
            )

    def vector(self, exam_id: str, region: Region) -> np.ndarray | None:
        """Return an exam's embedding of a region, or None where it was not found.

        Raises:
            KeyError: no such exam.
        """
        n, row = self.place(exam_id)
        segment = self.segments[n]
        return np.array(segment.vectors[region][row]) if segment.found[region][row] else None

    def found(self) -> dict[Region, int]:
        """Return in how many exams each region was found."""
        return {r: sum(int((s.found[r] & s.live).sum()) for s in self.segments) for r in Region}

    def exam(self, exam_id: str) -> dict[str, Any]:
        """Return an exam's metadata row; KeyError where there is none."""
        n, row = self.place(exam_id)
        return metadata(self.segments[n], np.array([row]))[0]

    def box(self, exam_id: str, region: Region) -> Box | None:
        """Return where a region lies in the exam's source image, or None where it was not found."""
        return box_of(self.exam(exam_id), region)

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Return the most similar exams.

        Raises:
            KeyError: `exam_id` names no exam of the index.
            ValueError: no vector that the mode could use, or one that is not of unit norm and this width.

        References:
            WristMIR §3.2, App. F.
        """
        return self.search_many([request])[0]

    def search_many(self, requests: Sequence[SearchRequest]) -> list[SearchAnswer]:
        """Return each request's answer, the same as it would get alone; several share a matrix product."""
        out: list[SearchAnswer] = []
        for start in range(0, len(requests), BATCH):
            batch = [self._prepared(r) for r in requests[start : start + BATCH]]
            shared = [self._products(s, batch) if len(batch) > 1 else {} for s in self.segments]
            out += [self._answer(p, [rows.get(i) for rows in shared]) for i, p in enumerate(batch)]
        return out

    def candidates(
        self, prepared: Prepared, coarse: Sequence[np.ndarray | None] = ()
    ) -> tuple[Part, str, dict[str, float], int]:
        """Return this index's share of a ranking: candidates, exactness, milliseconds, and who is allowed.

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
            part.places[:, 0] = n
            parts.append(part)
            bounded |= found.certified
            scanned = prepared.ask.scanned
            if found.approximate:
                recalls.append(self.description.segments[n].recall[scanned.value])
            ms["filter"] += 1e3 * (filtered - started)
            ms["coarse"] += 1e3 * (time.perf_counter() - filtered)
        merged = gather(parts, prepared.mode, prepared.ask.wanted, prepared.ask.one_a_patient)
        exactness = f"approximate({min(recalls):.4f})" if recalls else "certified" if bounded else "exact"
        return merged, exactness, ms, gallery

    def _prepared(self, request: SearchRequest) -> Prepared:
        prepared = Prepared.of(self, request)
        if prepared.mode is not Mode.GLOBAL and request.region not in self.stored:
            raise ValueError(f"the index stores no {request.region.words}: it is computed for a pool (`partial`)")
        return prepared

    def _answer(self, prepared: Prepared, coarse: Sequence[np.ndarray | None]) -> SearchAnswer:
        part, exactness, ms, gallery = self.candidates(prepared, coarse)
        started = time.perf_counter()
        request = prepared.request
        ranked = rank(part, prepared.mode, request.k, request.one_a_patient)
        hits = part.take(ranked.at)
        unlike = request.only_similar and self._unlike(prepared, hits)
        if unlike:
            hits, ranked = hits.take(np.arange(0)), type(ranked)(ranked.at[:0], ranked.stage1_ranks[:0])
        merged = time.perf_counter()
        found = self.hits(request.region, hits, ranked.stage1_ranks)
        ms["rerank"], ms["metadata"] = 1e3 * (merged - started), 1e3 * (time.perf_counter() - merged)
        return SearchAnswer(found, exactness, prepared.fallback, gallery, ms, unlike)

    def _products(self, segment: Segment, batch: Sequence[Prepared]) -> dict[int, np.ndarray]:
        """Return, by number of the query, its row of the matrix product over the vectors it scans."""
        out: dict[int, np.ndarray] = {}
        for region in Region:
            asking = [i for i, p in enumerate(batch) if p.ask.scanned is region]
            if asking and not segment.is_approximate(region):
                rows = segment.products(np.stack([batch[i].ask.vector for i in asking]), region)
                out |= dict(zip(asking, rows, strict=True))
        return out

    def _unlike(self, prepared: Prepared, hits: Part) -> bool:
        score = best_score(prepared.mode, hits)
        threshold = self.description.thresholds.get(f"{prepared.mode.value}/{prepared.request.region.value}")
        return threshold is not None and score < threshold

    def hits(self, region: Region, part: Part, stage1_ranks: np.ndarray) -> list[Hit]:
        """Return ranked candidates with their metadata, best first."""
        exams: dict[tuple[int, int], dict[str, Any]] = {}
        for n in np.unique(part.places[:, 0]).tolist():
            rows = part.places[part.places[:, 0] == n, 1]
            exams |= {(n, row): exam for row, exam in zip(rows.tolist(), metadata(self.segments[n], rows), strict=True)}
        out = []
        columns = zip(part.places.tolist(), stage1_ranks, part.global_scores, part.region_scores, strict=True)
        for final, ((n, row), stage1, seen, local) in enumerate(columns, 1):
            exam = exams[n, row]
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

    def place(self, exam_id: str) -> tuple[int, int]:
        """Return segment and row of an exam; KeyError where there is none."""
        for n, segment in enumerate(self.segments):
            row = segment.row(exam_id)
            if row is not None:
                return n, row
        raise KeyError(exam_id)


def open_segments(
    description: Description, own: Path, folders: Mapping[str, Path], config: IndexConfig
) -> list[Segment]:
    """Open a run's segments.

    Args:
        description: of the run.
        own: the run's folder, where its tombstones are.
        folders: segment -> local folder.
        config: of the run.
    """
    dead = np.load(own / DEAD)
    return [
        Segment(folders[e.run], config, Kind(e.kind), dead[e.run] if e.run in dead else np.zeros(0, np.int64))
        for e in description.segments
    ]


def _settings(run: storage.Manifest) -> IndexConfig:
    return IndexConfig(**run.config.get("index", {}))
