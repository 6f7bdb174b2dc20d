"""Adding, replacing and deleting exams without a rebuild, and writing many segments as one.

Each is one published step: readers hold the run they opened, and see the next one whole or not at all.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.layout import SOURCE
from wristmir_ray.retrieval.writing import Vectors


@dataclass(frozen=True)
class Change:
    """What differs from a published index."""

    exams: pa.Table
    """To be written as a new segment: added, or in place of others."""
    vectors: Vectors
    dead: dict[str, np.ndarray]
    """Segment -> all its rows that are gone, those of earlier runs included."""

    @property
    def deaths(self) -> int:
        """Rows that are gone, in all segments."""
        return sum(len(rows) for rows in self.dead.values())


def change(index: Index, exams: pa.Table, vectors: Vectors, delete: Collection[str] = ()) -> Change:
    """Return how to add these exams, in place of those of the same id, and to delete others.

    Args:
        index: the published one.
        exams: metadata sorted by exam_id.
        vectors: of the exams.
        delete: ids to delete; an id that is not there is no error.
    """
    gone = pa.array([*exams["exam_id"].to_pylist(), *delete], pa.string())
    dead = {}
    for entry, segment in zip(index.description.segments, index.segments, strict=True):
        hit = np.asarray(pc.is_in(segment.exams["exam_id"], value_set=gone))
        dead[entry.run] = np.flatnonzero(hit | ~segment.live)
    return Change(exams, vectors, dead)


def difference(index: Index, exams: pa.Table, vectors: Vectors) -> Change:
    """Return what turns the published index into one of exactly these exams.

    Args:
        index: the published one.
        exams: metadata of all exams, sorted by exam_id.
        vectors: of all exams.
    """
    ids = exams["exam_id"].combine_chunks()
    same = np.zeros(exams.num_rows, bool)
    dead = {}
    for entry, segment in zip(index.description.segments, index.segments, strict=True):
        at = pc.index_in(segment.exams["exam_id"].combine_chunks(), value_set=ids)
        here = np.flatnonzero(np.asarray(pc.is_valid(at)) & segment.live)
        there = np.asarray(at.take(pa.array(here)), np.int64)
        equal = _same_metadata(segment.exams.take(pa.array(here)), exams.take(pa.array(there)))
        for region in vectors:
            equal &= _same_rows(segment.vectors[region], here, vectors[region], there)
        same[there[equal]] = True
        stays = np.zeros(len(segment.ids), bool)
        stays[here[equal]] = True
        dead[entry.run] = np.flatnonzero(~stays)
    new = np.flatnonzero(~same)
    return Change(exams.take(pa.array(new)), {r: v[new] for r, v in vectors.items()}, dead)


def compacted(index: Index) -> tuple[pa.Table, Vectors]:
    """Return all living exams, sorted by id and each with its source, and their vectors."""
    live = [np.flatnonzero(s.live) for s in index.segments]
    tables = [s.exams.take(pa.array(rows)) for s, rows in zip(index.segments, live, strict=True)]
    table = pa.concat_tables(tables, promote_options="permissive")
    order = np.argsort(np.concatenate([s.ids[rows] for s, rows in zip(index.segments, live, strict=True)]))
    vectors = {}
    for region in index.stored:
        parts = [s.vectors[region][rows] for s, rows in zip(index.segments, live, strict=True)]
        vectors[region] = np.concatenate(parts)[order]
    return table.take(pa.array(order)).combine_chunks(), vectors


BLOCK = 8192


def _same_rows(a_ND: np.ndarray, rows_a: np.ndarray, b_ND: np.ndarray, rows_b: np.ndarray) -> np.ndarray:
    """Return (M,) bool: bit-equal vectors; NaN equals NaN."""
    out = np.empty(len(rows_a), bool)
    for start in range(0, len(rows_a), BLOCK):
        part = slice(start, start + BLOCK)
        a, b = a_ND[rows_a[part]], np.asarray(b_ND[rows_b[part]], np.float32)
        out[part] = ((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1)
    return out


def _same_metadata(a: pa.Table, b: pa.Table) -> np.ndarray:
    """Return (M,) bool: rows of two tables that agree in every column but their source."""
    names = [n for n in a.column_names if n != SOURCE]
    if set(names) != set(b.column_names) - {SOURCE}:
        return np.zeros(a.num_rows, bool)
    out = np.ones(a.num_rows, bool)
    for name in names:
        left, right = a[name].combine_chunks(), b[name].combine_chunks()
        if pa.types.is_list(left.type) and pa.types.is_list(right.type):
            for corner in range(4):  # boxes
                out &= _equal(pc.list_element(left, corner), pc.list_element(right, corner))
        else:
            out &= _equal(left, right)
    return out


def _equal(left: pa.Array, right: pa.Array) -> np.ndarray:
    both_null = np.asarray(left.is_null()) & np.asarray(right.is_null())
    if left.type != right.type:
        if pa.types.is_null(left.type) or pa.types.is_null(right.type):
            return np.asarray(both_null)
        right = right.cast(left.type)
    return np.asarray(both_null | np.asarray(pc.fill_null(pc.equal(left, right), False)))
