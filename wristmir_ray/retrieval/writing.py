"""Writes an index run: its own segment, its tombstones, its list, and what calibrates them."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError
from wristmir_ray.retrieval.approximate import Approximate
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.layout import DEAD, DESCRIPTION, FOUND, METADATA, NAME, SOURCE, Description, Entry
from wristmir_ray.retrieval.query import NORM_TOLERANCE
from wristmir_ray.retrieval.segment import Segment, write_codes
from wristmir_ray.retrieval.threshold import calibrate
from wristmir_ray.search.certify import choose, compress

METADATA_GROUP = 16_384
"""Rows: a shard reads the groups that hold its own."""

Vectors = Mapping[Region, np.ndarray]
"""Stored region -> (N, D) float32 unit norm, NaN rows where the region was not found."""
Sources = Mapping[str, Mapping[str, str]]
"""Run -> lineage of the exams that it indexed."""


@dataclass(frozen=True)
class Making:
    """What an index run is made with."""

    encoder_digest: str
    """Of the model that made its vectors."""
    config: IndexConfig = field(default_factory=IndexConfig)
    lineage: Mapping[str, str] = field(default_factory=dict)
    """What made the run's own exams' vectors and findings; each of their hits carries it."""
    sources: Sources = field(default_factory=dict)
    """Of exams that bring their source along: those of a compacted run."""


def write_index(
    folder: str,
    exams: pa.Table,
    vectors: Vectors,
    made: Making,
    parent: Index | None = None,
    dead: Mapping[str, np.ndarray] | None = None,
) -> list[str]:
    """Write an index run's files and return their names.

    Args:
        folder: its run folder.
        exams: metadata, sorted by exam_id, one row an exam; no row where nothing is added.
        vectors: of the exams.
        made: with what.
        parent: the run whose segments stay; default none, and the run is one segment.
        dead: segment of the parent -> rows of it that are gone now; those that were before stay so.
    """
    if np.any(np.asarray(pc.sort_indices(exams["exam_id"])) != np.arange(exams.num_rows)):
        raise AssertionError("an index's exams must be sorted by exam_id: ties are decided by their order")
    config = made.config
    dead = {} if parent is None else _all_dead(parent, dead or {})
    run = folder.rstrip("/").rsplit("/", 1)[-1]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        kept = [] if parent is None else _kept(parent, dead)
        entries = [e for e, _ in kept]
        if exams.num_rows:
            entries.append(_write_segment(scratch, run, exams, vectors, config))
        if not entries:
            raise ConfigError("no exam would be left in the index; build another one instead")
        stay = {e.run for e in entries}
        gone: Any = {r: np.asarray(rows, np.int64) for r, rows in dead.items() if r in stay and len(rows)}
        np.savez(scratch / DEAD, **gone)
        sources = {**made.sources, **(parent.description.sources if parent else {}), run: {**made.lineage, NAME: run}}
        dim, stored = vectors[Region.WRIST].shape[1], _stored(vectors, parent, exams.num_rows)
        description = Description(dim, made.encoder_digest, entries, sources, regions=stored)
        own = [Segment(scratch, config, Kind(entries[-1].kind), np.zeros(0, int))] if exams.num_rows else []
        description = _calibrated(description, [s for _, s in kept] + own, config)
        (scratch / DESCRIPTION).write_text(description.to_json())
        names = sorted(os.listdir(scratch))
        for file in names:
            storage.write_bytes(storage.join(folder, file), (scratch / file).read_bytes())
    return names


def _stored(vectors: Vectors, parent: Index | None, count: int) -> list[str]:
    """Return the regions whose vectors an index holds: of all its segments the same."""
    stored = [r.value for r in Region if r in vectors]
    if parent is None:
        return stored
    if count and stored != parent.description.regions:
        raise AssertionError("an index's segments hold the vectors of the same regions")
    return list(parent.description.regions)


def _calibrated(description: Description, segments: list[Segment], config: IndexConfig) -> Description:
    """Return the description with the thresholds that the whole index gives."""
    opened = Index(storage.Manifest(NAME, "", "calibration"), description, segments)
    thresholds = calibrate(opened, config.alpha, config.calibration_queries, config.pool)
    return replace(description, alpha=config.alpha, thresholds=thresholds)


def _all_dead(parent: Index, dead: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return each segment's dead rows: those of the parent and the new ones."""
    return {
        e.run: np.union1d(np.flatnonzero(~s.live), np.asarray(dead.get(e.run, ()), np.int64))
        for e, s in zip(parent.description.segments, parent.segments, strict=True)
    }


def _kept(parent: Index, dead: Mapping[str, np.ndarray]) -> list[tuple[Entry, Segment]]:
    """Return the parent's segments with their new tombstones, but for those of which nothing is left."""
    out = []
    for entry, segment in zip(parent.description.segments, parent.segments, strict=True):
        gone = dead.get(entry.run, np.zeros(0, np.int64))
        if len(gone) < entry.rows:
            out.append((replace(entry, dead=len(gone)), segment.with_dead(gone)))
    return out


def _write_segment(scratch: Path, run: str, exams: pa.Table, vectors: Vectors, config: IndexConfig) -> Entry:
    if SOURCE not in exams.column_names:
        exams = exams.append_column(SOURCE, pa.array([run] * exams.num_rows, pa.string()))
    pq.write_table(exams, scratch / METADATA, row_group_size=METADATA_GROUP, compression="zstd")
    recall = {}
    for region in vectors:
        array = np.ascontiguousarray(vectors[region], np.float32)
        if (np.abs(np.sqrt(np.einsum("nd,nd->n", array, array)) - 1) > NORM_TOLERANCE).any():
            raise ValueError(f"an index's {region.words} vectors must have unit norm, or be NaN: scans rely on it")
        np.save(scratch / f"{region.value}.npy", array)
        if config.kind is Kind.CERTIFIED and len(array) >= config.codes_min_rows:
            axes_CD = choose(array, config.pool)
            if axes_CD is not None:
                write_codes(scratch, region, compress(array, axes_CD))
        if config.kind in {Kind.IVF, Kind.HNSW}:
            built = Approximate.build(array, config)
            built.write(scratch / f"{region.value}.faiss")
            recall[region.value] = round(built.recall(array, config.pool), 4)
    nowhere = np.zeros(exams.num_rows, bool)
    np.save(scratch / FOUND, np.stack([~np.isnan(vectors[r][:, 0]) if r in vectors else nowhere for r in Region]))
    return Entry(run, exams.num_rows, 0, config.kind.value, recall)
