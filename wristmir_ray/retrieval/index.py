"""The index: memory-mapped embeddings by region, metadata beside them, one search."""

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wristmir_ray import storage
from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import IndexMismatch, NotPublished
from wristmir_ray.retrieval.coarse_faiss import CoarseScan
from wristmir_ray.retrieval.filters import Filters, allowed
from wristmir_ray.retrieval.local import local_folder
from wristmir_ray.search import Mode, search

NAME = "index"
METADATA = "exams.parquet"
DESCRIPTION = "index.json"
FAISS = "wrist.faiss"
FOUND = "found.npy"
"""(regions, exams) bool in the order of Region: who has a vector, without reading the vectors."""


NORM_TOLERANCE = 1e-3
"""How far a query's norm may be from one; the coarse scan's proof needs unit vectors."""


@dataclass(frozen=True)
class SearchRequest:
    """One query: vectors of its regions, or an exam of the index (which is then no hit, nor its patient's others)."""

    region: Region
    mode: Mode = Mode.TWO_STAGE
    pool: int = 100
    k: int = 10
    vectors: Mapping[Region, np.ndarray] = field(default_factory=dict)
    """Region -> (D,) float32 unit norm."""
    exam_id: str | None = None
    filters: Filters = field(default_factory=Filters)


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


@dataclass(frozen=True)
class SearchAnswer:
    """Hits, best first, and how they were found."""

    hits: list[Hit]
    exactness: str
    fallback: str | None
    gallery: int
    """Exams that the filters allow."""
    stage_ms: Mapping[str, float]


class Index:
    """A published index, opened for reading; replicas on one machine share its pages.

    Args:
        run: its manifest.
        folder: local folder with its files.
    """

    def __init__(self, run: storage.Manifest, folder: Path) -> None:
        description = json.loads((folder / DESCRIPTION).read_text())
        self.run = run
        self.dim = int(description["dim"])
        self.encoder_digest = str(description["encoder_digest"])
        self.exams = pq.read_table(folder / METADATA, memory_map=True)
        self._vectors = {r: np.load(folder / f"{r.value}.npy", mmap_mode="r") for r in Region}
        self._rows = {e: i for i, e in enumerate(self.exams["exam_id"].to_pylist())}
        self._found = dict(zip(Region, np.load(folder / FOUND), strict=True))
        self._coarse = CoarseScan(folder / FAISS, self._found[Region.WRIST])

    @classmethod
    def load(cls, root: str, run_id: str | None = None) -> "Index":
        """Open the published index, or a pinned run of it; from S3 it is copied to a local folder first.

        Raises:
            NotPublished: there is none, or one in an earlier layout.
        """
        run = storage.published(root, NAME, run_id)
        if FOUND not in run.files:
            raise NotPublished(
                f"index run {run.run_id} under {root} has an earlier layout; run jobs/build_index.py again"
            )
        return cls(run, local_folder(storage.run_uri(root, NAME, run.run_id), run))

    def __len__(self) -> int:
        return int(self.exams.num_rows)

    def __contains__(self, exam_id: str) -> bool:
        return exam_id in self._rows

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
        row = self._rows[exam_id]
        return np.asarray(self._vectors[region][row]) if self._found[region][row] else None

    def found(self) -> dict[Region, int]:
        """Return in how many exams each region was found."""
        return {r: int(found.sum()) for r, found in self._found.items()}

    def exam(self, exam_id: str) -> dict[str, Any]:
        """Return an exam's metadata row; KeyError where there is none."""
        row: dict[str, Any] = self.exams.slice(self._rows[exam_id], 1).to_pylist()[0]
        return row

    def box(self, exam_id: str, region: Region) -> Box | None:
        """Return where a region lies in the exam's source image, or None where it was not found."""
        return _box(self.exam(exam_id), region)

    def search(self, request: SearchRequest) -> SearchAnswer:
        """Return the most similar exams.

        Raises:
            KeyError: `exam_id` names no exam of the index.
            ValueError: no vector that the mode could use, or one that is not of unit norm and this width.

        References:
            WristMIR §3.2, App. F.
        """
        started = time.perf_counter()
        vectors = self._query(request)
        mask = self._allowed(request)
        filtered = time.perf_counter()
        wrist = vectors.get(Region.WRIST)
        wanted = request.pool if request.mode is Mode.TWO_STAGE else request.k
        shortlist = (
            None if wrist is None or request.mode is Mode.REGION else self._coarse.shortlist(wrist, wanted, mask)
        )
        coarse = time.perf_counter()
        hits = search(
            wrist,
            vectors.get(request.region),
            self._vectors[Region.WRIST],
            self._vectors[request.region],
            mode=request.mode,
            pool=request.pool,
            k=request.k,
            allowed_N=mask,
            shortlist=shortlist,
        )
        done = time.perf_counter()
        columns = (hits.rows, hits.stage1_ranks, hits.global_scores, hits.region_scores)
        found = [self._hit(request.region, n, *values) for n, values in enumerate(zip(*columns, strict=True), 1)]
        ms = {"filter": filtered - started, "coarse": coarse - filtered, "rerank": done - coarse}
        gallery = len(self) if mask is None else int(mask.sum())
        return SearchAnswer(found, "exact", hits.fallback, gallery, {n: 1e3 * s for n, s in ms.items()})

    def _query(self, request: SearchRequest) -> Mapping[Region, np.ndarray]:
        if request.exam_id is not None:
            own = {r: self.vector(request.exam_id, r) for r in {Region.WRIST, request.region}}
            return {r: v for r, v in own.items() if v is not None}
        for region, vector in request.vectors.items():
            if vector.shape != (self.dim,) or not abs(np.linalg.norm(vector) - 1) < NORM_TOLERANCE:
                raise ValueError(f"the query's {region.words} vector must have unit norm and {self.dim} numbers")
        return request.vectors

    def _allowed(self, request: SearchRequest) -> np.ndarray | None:
        """Return who may be a hit; a query exam leaves itself and its patient's others out."""
        mask = allowed(self.exams, request.filters, request.region)
        if request.exam_id is None:
            return mask
        patient = self.exam(request.exam_id)["patient_id"]
        others = allowed(self.exams, Filters(exclude_exam=request.exam_id, exclude_patient=patient), request.region)
        return others if mask is None or others is None else mask & others

    def _hit(self, region: Region, rank: int, row: int, stage1: int, seen: float, local: float) -> Hit:
        exam = self.exams.slice(int(row), 1).to_pylist()[0]
        return Hit(
            exam_id=exam["exam_id"],
            final_rank=rank,
            stage1_rank=int(stage1) or None,
            global_score=None if np.isnan(seen) else float(seen),
            region_score=None if np.isnan(local) else float(local),
            exam=exam,
            box=_box(exam, region),
        )


def _box(exam: Mapping[str, Any], region: Region) -> Box | None:
    corners = exam[f"{region.value}_box"]
    return Box(*corners) if corners else None


def write_index(folder: str, exams: pa.Table, vectors: Mapping[Region, np.ndarray], encoder_digest: str) -> list[str]:
    """Write an index's files and return their names.

    Args:
        folder: its run folder.
        exams: metadata, sorted by exam_id, one row an exam.
        vectors: region -> (N, D) float32 unit norm, NaN rows where the region was not found.
        encoder_digest: of the model that made them.
    """
    import faiss

    if not pc.all(pc.equal(pc.sort_indices(exams["exam_id"]), pa.array(range(exams.num_rows), pa.uint64()))).as_py():
        raise AssertionError("an index's exams must be sorted by exam_id: ties are decided by their order")
    dim = vectors[Region.WRIST].shape[1]
    flat = faiss.IndexFlatIP(dim)
    flat.add(np.nan_to_num(vectors[Region.WRIST], nan=0.0))
    with tempfile.TemporaryDirectory() as scratch:
        pq.write_table(exams, os.path.join(scratch, METADATA))
        for region, array in vectors.items():
            np.save(os.path.join(scratch, f"{region.value}.npy"), np.ascontiguousarray(array, np.float32))
        np.save(os.path.join(scratch, FOUND), np.stack([~np.isnan(vectors[r][:, 0]) for r in Region]))
        faiss.write_index(flat, os.path.join(scratch, FAISS))
        Path(scratch, DESCRIPTION).write_text(json.dumps({"dim": dim, "encoder_digest": encoder_digest}))
        names = sorted(os.listdir(scratch))
        for name in names:
            storage.write_bytes(storage.join(folder, name), Path(scratch, name).read_bytes())
    return names
