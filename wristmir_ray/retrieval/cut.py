"""How a run of the index is cut into shards: rows of each segment, and who holds which.

A segment that is scanned is cut into ranges of rows as long as each other. One that is looked up in an approximate
index (ivf, hnsw) cannot be cut, since that index was built over all of its rows: it goes to one shard whole, the
largest first, each to whoever has the fewest rows by then. An archive of one such segment is held by one shard alone.
"""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.retrieval.config import Kind
from wristmir_ray.retrieval.layout import Description

WHOLE = frozenset({Kind.IVF, Kind.HNSW})
"""Kinds of segments that are not cut."""


@dataclass(frozen=True)
class Share:
    """What one shard holds of a run; whoever asks a shard names it, so that both speak of the same rows."""

    run: str
    rows: tuple[tuple[int, int], ...]
    """A segment: its first row, and the one after its last; equal where it holds none."""


@dataclass(frozen=True)
class Cut:
    """A run, cut: every row is in one share."""

    run: str
    bounds: tuple[np.ndarray, ...]
    """A segment: (shards + 1,) int64; shard i holds the rows from bounds[i] to bounds[i + 1]."""

    @classmethod
    def of(cls, run: str, description: Description, shards: int) -> "Cut":
        """Cut a run; the same for everyone who does."""
        held = np.zeros(shards, np.int64)
        bounds: dict[int, np.ndarray] = {}
        entries = list(enumerate(description.segments))
        for n, entry in entries:
            if Kind(entry.kind) not in WHOLE:
                bounds[n] = np.arange(shards + 1, dtype=np.int64) * entry.rows // shards
                held += np.diff(bounds[n])
        for n, entry in sorted(entries, key=lambda e: -e[1].rows):
            if n not in bounds:
                holder = int(np.argmin(held))
                held[holder] += entry.rows
                bounds[n] = np.where(np.arange(shards + 1) <= holder, 0, entry.rows)
        return cls(run, tuple(bounds[n] for n, _ in entries))

    @property
    def shares(self) -> list[Share]:
        """What each shard holds."""
        shards = len(self.bounds[0]) - 1
        return [Share(self.run, tuple((int(b[i]), int(b[i + 1])) for b in self.bounds)) for i in range(shards)]

    def holders(self, places_M2: np.ndarray) -> np.ndarray:
        """Return (M,) int64, the shard of each place (segment, row)."""
        out = np.empty(len(places_M2), np.int64)
        for n in np.unique(places_M2[:, 0]).tolist():
            at = np.flatnonzero(places_M2[:, 0] == n)
            out[at] = np.searchsorted(self.bounds[n], places_M2[at, 1], side="right") - 1
        return out
