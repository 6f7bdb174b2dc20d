"""Regions whose vectors the index does not hold: what they are computed from, and what is known of them so far."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.search.coarse import scores_at

if TYPE_CHECKING:
    from wristmir_ray.retrieval.gallery import Gallery
    from wristmir_ray.retrieval.index import Index

SOURCE_COLUMNS = ["source_uri", "pixel_id"]
"""Metadata of an index that does not store every region."""

_NEEDED = ["exam_id", *SOURCE_COLUMNS, "laterality", f"{Region.WRIST.value}_box"]
_GROWTH = 1024
_UNKNOWN, _ABSENT = -1, -2


class State(IntEnum):
    """What has become of one candidate's region."""

    PENDING = 0
    """It is not computed yet."""
    COMPARED = 1
    NO_REGION = 2
    """The bone was not found: a fact, as in an archive that stores it."""
    SOURCE_UNREADABLE = 3
    SOURCE_CHANGED = 4
    """The image is another one than was indexed."""

    @property
    def is_fact(self) -> bool:
        """Whether it stays so: an image that cannot be read now may come back."""
        return self in {State.COMPARED, State.NO_REGION}


@dataclass(frozen=True, slots=True)
class Source:
    """What a bone of one exam is computed from."""

    exam_id: str
    uri: str
    pixel_id: str | None
    """Of the image that was indexed; None: not known."""
    wrist: Box
    side: Side | None


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one exam's region."""

    state: State
    vector: np.ndarray | None = None
    """(D,) float32 unit norm, where it was found."""
    box: Box | None = None
    """In pixels of the source image, float32 as tables keep them."""


def sources_of(index: "Index", places_M2: np.ndarray) -> list[Source]:
    """Return what the regions of these exams are computed from, in their order.

    Args:
        index: one that does not store every region.
        places_M2: (M, 2) int64, segment and row.
    """
    out: list[Source | None] = [None] * len(places_M2)
    for n in np.unique(places_M2[:, 0]).tolist():
        at = np.flatnonzero(places_M2[:, 0] == n)
        rows = index.segments[n].exams.select(_NEEDED).take(pa.array(places_M2[at, 1])).to_pylist()
        for i, row in zip(at.tolist(), rows, strict=True):
            side = Side(row["laterality"]) if row["laterality"] else None
            wrist = Box(*row[_NEEDED[-1]])
            out[i] = Source(row["exam_id"], row["source_uri"], row["pixel_id"], wrist, side)
    return [s for s in out if s is not None]


class Known:
    """Computed regions of one opened index, in memory: a pool that was asked for before is scored where it lies.

    Args:
        index: whose exams.
        max_rows: vectors a region that are held; one more, and that region is forgotten as a whole.
    """

    def __init__(self, index: "Gallery", max_rows: int) -> None:
        self._dim = index.dim
        self._max_rows = max_rows
        self._lock = threading.Lock()
        lengths = [e.rows for e in index.description.segments]
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._regions = {r: _Grown(int(self._starts[-1]), self._dim) for r in Region if r not in index.stored}

    def add(self, region: Region, places_M2: np.ndarray, found: Sequence[Found | None]) -> None:
        """Remember what stays so; what may change is not kept."""
        facts = [(int(row), f) for row, f in zip(self._rows(places_M2), found, strict=True) if f and f.state.is_fact]
        with self._lock:
            grown = self._regions[region]
            if grown.count + len(facts) > self._max_rows:
                grown = self._regions[region] = _Grown(int(self._starts[-1]), self._dim)
            for row, fact in facts[: self._max_rows]:
                grown.set(row, fact)

    def scores(self, region: Region, query_D: np.ndarray, places_M2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (M,) float32 cosines, NaN where there is none, and (M,) uint8 of State.

        A score is that of an index that stores the region, to the last bit.
        """
        with self._lock:
            grown = self._regions[region]
            slots, vectors = grown.slots[self._rows(places_M2)], grown.vectors
        out = np.full(len(slots), np.nan, np.float32)
        at = np.flatnonzero(slots >= 0)
        out[at] = scores_at(query_D, vectors, slots[at])
        states = np.where(slots == _ABSENT, State.NO_REGION, State.PENDING).astype(np.uint8)
        states[at] = State.COMPARED
        return out, states

    def lacks(self, region: Region, places_M2: np.ndarray) -> np.ndarray:
        """Return (M,) bool: whether nothing is known of an exam's region."""
        with self._lock:
            return np.asarray(self._regions[region].slots[self._rows(places_M2)] == _UNKNOWN)

    def found(self, region: Region, place: Sequence[int]) -> Found | None:
        """Return what is known of one exam's region."""
        with self._lock:
            grown = self._regions[region]
            slot = int(grown.slots[self._starts[place[0]] + place[1]])
            if slot == _UNKNOWN:
                return None
            if slot == _ABSENT:
                return Found(State.NO_REGION)
            return Found(State.COMPARED, grown.vectors[slot].copy(), Box(*grown.boxes[slot].tolist()))

    def _rows(self, places_M2: np.ndarray) -> np.ndarray:
        rows: np.ndarray = self._starts[places_M2[:, 0]] + places_M2[:, 1]
        return rows


class _Grown:
    """Vectors and boxes of one region in the order in which they came; slots say where a row's are."""

    def __init__(self, rows: int, dim: int) -> None:
        self.slots = np.full(rows, _UNKNOWN, np.int32)
        self.vectors = np.empty((0, dim), np.float32)
        self.boxes = np.empty((0, 4), np.float32)
        self.count = 0

    def set(self, row: int, fact: Found) -> None:
        if self.slots[row] != _UNKNOWN:
            return
        if fact.vector is None or fact.box is None:
            self.slots[row] = _ABSENT
            return
        if self.count == len(self.vectors):
            more = max(_GROWTH, self.count)
            self.vectors = np.concatenate([self.vectors, np.empty((more, self.vectors.shape[1]), np.float32)])
            self.boxes = np.concatenate([self.boxes, np.empty((more, 4), np.float32)])
        self.vectors[self.count] = fact.vector
        b = fact.box
        self.boxes[self.count] = b.x0_px, b.y0_px, b.x1_px, b.y1_px
        self.slots[row] = self.count
        self.count += 1
