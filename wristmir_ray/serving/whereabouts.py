"""Where the archive's images lie: an exam's row of EXAMS, which is sorted by another key."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wristmir_ray import storage
from wristmir_ray.schemas import EXAMS

_ID_BYTES = 16
_GENERATIONS = 2
"""Runs that are kept: the one that is asked for, and the one before while an index is swapped."""


@dataclass(frozen=True)
class Source:
    """Where an exam's image lies, and what its pixels must be. Neither may reach a client."""

    uri: str
    pixel_id: str


class Exams:
    """The good rows of one run of EXAMS by exam id: 24 bytes an exam in memory, one row group read a look-up.

    Args:
        root: folder or s3:// prefix.
        run_id: of EXAMS.

    Raises:
        NotPublished, SchemaError: the run is not there, or of another schema.
    """

    def __init__(self, root: str, run_id: str) -> None:
        manifest = storage.published_table(root, EXAMS, run_id)
        self._files = storage.table_files(root, manifest)
        parts = list(self._read())
        ids = np.concatenate([part for _, part, _ in parts]) if parts else np.zeros(0, f"S{_ID_BYTES}")
        rows = np.concatenate([at for *_, at in parts]) if parts else np.zeros(0, np.uint32)
        self._groups = [group for group, *_ in parts]
        self._ends = np.cumsum([len(part) for _, part, _ in parts])
        self._order = np.argsort(ids, kind="stable").astype(np.uint32)
        self._ids = ids[self._order]
        self._rows = rows

    def _read(self) -> Iterator[tuple[tuple[int, int], np.ndarray, np.ndarray]]:
        """Yield each row group: (file, group), (N,) ids of its good rows, and their places in it."""
        for n, uri in enumerate(self._files):
            with _open(uri) as file:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, ["exam_id", "error"])
                    good = np.flatnonzero(pc.and_(table["error"].is_null(), table["exam_id"].is_valid()))
                    ids = bytes.fromhex("".join(table["exam_id"].take(good).to_pylist()))
                    yield (n, group), np.frombuffer(ids, f"S{_ID_BYTES}"), good.astype(np.uint32)

    def find(self, exam_id: str) -> Source | None:
        """Return where an exam's image lies, or None where no good row has it."""
        wanted = np.array(bytes.fromhex(exam_id), f"S{_ID_BYTES}")
        place = int(np.searchsorted(self._ids, wanted))
        if place == len(self._ids) or self._ids[place] != wanted:
            return None
        at = int(self._order[place])
        n, group = self._groups[int(np.searchsorted(self._ends, at, side="right"))]
        with _open(self._files[n]) as file:
            row = file.read_row_group(group, ["source_uri", "pixel_id"]).slice(int(self._rows[at]), 1).to_pylist()[0]
        return Source(row["source_uri"], row["pixel_id"] or "")


def _open(uri: str) -> pq.ParquetFile:
    fs, path = storage.filesystem(uri)
    return pq.ParquetFile(path, filesystem=fs)


class Whereabouts:
    """`Exams` of the runs that are asked for, each read once; thread-safe.

    Args:
        root: folder or s3:// prefix.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._runs: dict[str, Exams] = {}

    def find(self, run_id: str, exam_id: str) -> Source | None:
        """Return where an exam's image lies, or None where the run has no good row of it; raises as `Exams`."""
        with self._lock:
            exams = self._runs.get(run_id) or Exams(self._root, run_id)
            self._runs[run_id] = exams
            for old in list(self._runs)[:-_GENERATIONS]:
                del self._runs[old]
        return exams.find(exam_id)
