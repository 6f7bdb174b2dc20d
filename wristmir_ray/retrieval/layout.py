"""The files of an index run: immutable segments, tombstones, and the list that binds them.

    index/runs/<run>/manifest.json       last: now the run exists
    index/runs/<run>/index.json          `Description`: the segments, oldest first, and what calibrates them
    index/runs/<run>/dead.npz            segment -> rows of it that this run has deleted or replaced
    index/runs/<run>/exams.parquet       the run's own segment, where it adds rows: metadata by exam_id,
    index/runs/<run>/<region>.npy          (N, D) float32, NaN rows where the region was not found; no file for a
                                           region that is not stored,
    index/runs/<run>/found.npy             (regions, N) bool,
    index/runs/<run>/<region>.axes.npy     with .leading.npy and .rest.npy: codes of the certified scan,
    index/runs/<run>/<region>.faiss        or an approximate index

A segment is called by the run that wrote it; later runs name it and leave its files where they are, so
that adding, replacing and deleting cost what changes, and are one published step. The manifest's
input `index` is the run before, which keeps it from being pruned; a compacted run has none.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wristmir_ray.anatomy import Region

NAME = "index"
LAYOUT = 2
DESCRIPTION = "index.json"
DEAD = "dead.npz"
METADATA = "exams.parquet"
FOUND = "found.npy"
SOURCE = "source"
"""Metadata column: the run that first indexed the exam; `Description.sources` says from what."""


@dataclass(frozen=True)
class Entry:
    """One segment of a run's list."""

    run: str
    rows: int
    dead: int
    """Rows that this run, or one before it, has deleted or replaced."""
    kind: str
    recall: Mapping[str, float] = field(default_factory=dict)
    """Region -> measured recall of an approximate index."""


@dataclass(frozen=True)
class Description:
    """What binds the segments of one run."""

    dim: int
    encoder_digest: str
    segments: list[Entry]
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Run -> lineage of the exams that it indexed: encoder, detectors, mining."""
    alpha: float = 0.0
    regions: list[str] = field(default_factory=lambda: [r.value for r in Region])
    """Whose vectors the segments hold; those of the others are computed when they are asked for."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """`<mode>/<region>` -> best score below which an answer is called without similar case."""
    layout: int = LAYOUT

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Description | None":
        """Return what a file says, or None where it has another layout."""
        raw: dict[str, Any] = json.loads(text)
        if raw.get("layout") != LAYOUT:
            return None
        return cls(**{**raw, "segments": [Entry(**e) for e in raw["segments"]]})
