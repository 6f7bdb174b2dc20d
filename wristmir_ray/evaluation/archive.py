"""Published tables as arrays, one row an exam."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import FractureType, Healing, Presence, Region
from wristmir_ray.schemas import CAPTIONS, EXAMS, embeddings
from wristmir_ray.tables import vectors

CLASSES = ("none", *FractureType)
"""Class labels: index 0 is no fracture."""
UNLABELLED = -1
NO_HIT = -1
"""Stands for a hit where a query has fewer than k."""


@dataclass(frozen=True)
class Archive:
    """Exams sorted by id; N of them, D wide."""

    exam_ids: np.ndarray
    patients: np.ndarray
    splits: np.ndarray
    sides: np.ndarray
    ages_years: np.ndarray
    """float, NaN where unknown."""
    vectors: dict[Region, np.ndarray]
    """(N, D) float32 unit norm; NaN where the region was not found."""
    present: dict[Region, np.ndarray]
    """(N,) int: 1 fracture, 0 none or unmentioned, -1 uncertain or without caption."""
    classes: dict[Region, np.ndarray]
    """(N,) int index into CLASSES; -1 as above."""
    captions: dict[Region, np.ndarray]
    """(N,) object: caption text or None."""

    def rows(self, split: str) -> np.ndarray:
        """Return the rows of one split."""
        return np.flatnonzero(self.splits == split)

    def gallery(self, split: str) -> np.ndarray:
        """Return the rows of one split that have a wrist embedding: who can be asked for, and found."""
        rows = self.rows(split)
        found: np.ndarray = rows[~np.isnan(self.vectors[Region.WRIST][rows, 0])]
        return found

    def positions(self, exam_ids: pa.ChunkedArray, among: np.ndarray | None = None) -> np.ndarray:
        """Return where exams stand in the archive, or among other ids.

        Raises:
            KeyError: one of them stands nowhere.
        """
        ids = pa.array(self.exam_ids if among is None else among, pa.string())
        at = pc.index_in(exam_ids, value_set=ids)
        if at.null_count:
            raise KeyError(f"{at.null_count} exam(s) are not in the archive")
        return np.asarray(at.to_numpy(), int)


def load(root: str, runs: dict[str, str], dim: int, healed: Presence = Presence.PRESENT) -> Archive:
    """Return the archive of pinned runs.

    Args:
        root: where tables are published.
        runs: run ids of exams and embeddings, and of captions where labels are wanted.
        dim: width of the embeddings.
        healed: what a healed fracture counts as; `uncertain` leaves it out.
    """
    exams = storage.read_table(root, EXAMS, runs["exams"]).sort_by("exam_id")
    ids = np.asarray(exams["exam_id"].to_pylist())
    table = embeddings(dim)
    embedded = storage.read_table(root, table, runs["embeddings"], ["exam_id", "region", "embedding"])
    unlabelled = CAPTIONS.schema.empty_table()
    labelled = storage.read_table(root, CAPTIONS, runs["captions"]) if "captions" in runs else unlabelled
    by_region = {r: _vectors(embedded, r, ids, dim) for r in Region}
    labels = {r: _labels(labelled, r, ids, healed) for r in Region}
    return Archive(
        exam_ids=ids,
        patients=np.asarray(exams["patient_id"].to_pylist()),
        splits=np.asarray(exams["split"].to_pylist()),
        sides=np.asarray(exams["laterality"].to_pylist(), object),
        ages_years=np.asarray(exams["age_years"].to_numpy(zero_copy_only=False), float),
        vectors=by_region,
        present={r: v[0] for r, v in labels.items()},
        classes={r: v[1] for r, v in labels.items()},
        captions={r: v[2] for r, v in labels.items()},
    )


def _of_region(table: pa.Table, region: Region, ids: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Return the table's rows of one region whose exam is known, and that exam's row."""
    part = table.filter(pc.field("region") == region.value)
    at = pc.index_in(part["exam_id"].combine_chunks(), value_set=pa.array(ids)).to_numpy(zero_copy_only=False)
    known = ~np.isnan(at.astype(float))
    return part.filter(pa.array(known)), at[known].astype(int)


def _vectors(table: pa.Table, region: Region, ids: np.ndarray, dim: int) -> np.ndarray:
    part, at = _of_region(table, region, ids)
    out = np.full((len(ids), dim), np.nan, np.float32)
    out[at] = vectors(part["embedding"])
    return out


def _labels(
    table: pa.Table, region: Region, ids: np.ndarray, healed: Presence
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    part, at = _of_region(table, region, ids)
    present, classes = np.full(len(ids), UNLABELLED), np.full(len(ids), UNLABELLED)
    captions = np.full(len(ids), None, object)
    columns = ["presence", "fracture_type", "healing", "caption"]
    for row, exam in zip(part.select(columns).to_pylist(), at, strict=True):
        captions[exam] = row["caption"]
        presence = row["presence"]
        if presence == Presence.PRESENT and row["healing"] == Healing.HEALED:
            presence = healed
        if presence == Presence.UNCERTAIN:
            continue
        present[exam] = int(presence == Presence.PRESENT)
        kind = row["fracture_type"] or FractureType.UNKNOWN
        classes[exam] = CLASSES.index(kind) if present[exam] else 0
    return present, classes, captions
