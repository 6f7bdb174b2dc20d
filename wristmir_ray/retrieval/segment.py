"""One immutable segment, opened: memory-mapped vectors by region, filter columns in memory, its scans."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.approximate import Approximate
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.filters import Columns, Filters
from wristmir_ray.retrieval.layout import FOUND, METADATA
from wristmir_ray.search.certify import Codes
from wristmir_ray.search.coarse import scores_at, top
from wristmir_ray.search.merge import Part
from wristmir_ray.search.scan import GATHER_SHARE, Best, best, products
from wristmir_ray.search.two_stage import candidates

ONE_A_PATIENT_GROWTH = 4
"""Where hits are collapsed to one a patient, so many times more rows are asked for until enough patients are there."""


@dataclass(frozen=True)
class Ask:
    """What one query wants of every segment."""

    seen: np.ndarray | None
    """(D,) float32, the query's whole wrist."""
    local: np.ndarray | None
    """(D,) float32, its asked region."""
    region: Region
    by_region: bool
    """The scan is by the region, not by whole wrist."""
    wanted: int
    one_a_patient: bool = False

    @property
    def scanned(self) -> Region:
        """Whose vectors are scanned."""
        return self.region if self.by_region else Region.WRIST

    @property
    def vector(self) -> np.ndarray:
        """The vector that is scanned for."""
        vector = self.local if self.by_region else self.seen
        assert vector is not None
        return vector


class Segment:
    """Exams of one run, or some of them, sorted by id; those that a later run deleted or replaced are dead.

    Args:
        folder: local folder with its files.
        config: how its approximate index is asked.
        kind: how it is scanned.
        dead: rows of the whole segment that are gone.
        rows: the first that is held, and the one after the last; default all. Its own rows count from there.
        begins: row with which the files begin: a copy may hold some alone.
    """

    def __init__(
        self,
        folder: Path,
        config: IndexConfig,
        kind: Kind,
        dead: np.ndarray,
        rows: tuple[int, int] | None = None,
        begins: int = 0,
    ) -> None:
        self.folder = folder
        self.first = rows[0] if rows else 0
        held = slice(rows[0] - begins, rows[1] - begins) if rows else slice(None)
        self.exams = read_exams(folder / METADATA, held)
        self.columns = Columns(self.exams)
        self.ids = self.columns.ids
        self.vectors: Mapping[Region, np.ndarray] = {r: _read_vectors(folder, r)[held] for r in Region}
        self.live = np.ones(len(self.ids), bool)
        gone = dead - self.first
        self.live[gone[(gone >= 0) & (gone < len(self.ids))]] = False
        self.found = dict(zip(Region, np.array(np.load(folder / FOUND, mmap_mode="r")[:, held]), strict=True))
        self._usable = {r: found & self.live for r, found in self.found.items()}
        self._whole = {r: bool(usable.all()) for r, usable in self._usable.items()}
        self._kind = kind
        self._config = config
        asked = config.model_copy(update={"kind": kind})
        self._codes = {r: read_codes(folder, r, held) for r in Region}
        files = {r: folder / f"{r.value}.faiss" for r in Region} if len(self.ids) else {}
        self._approximate = {r: Approximate.open(f, asked) for r, f in files.items() if f.exists()}

    def with_dead(self, dead: np.ndarray) -> "Segment":
        """Return the whole segment with other rows dead."""
        return Segment(self.folder, self._config, self._kind, dead)

    def row(self, exam_id: str) -> int | None:
        """Return the row of a living exam, or None."""
        at = int(np.searchsorted(self.ids, exam_id.encode()))
        return at if at < len(self.ids) and self.ids[at] == exam_id.encode() and self.live[at] else None

    def allowed(self, filters: list[Filters], region: Region) -> np.ndarray | None:
        """Return (N,) bool, living exams that satisfy all filters, or None where that is everyone."""
        masks = [m for f in filters if (m := self.columns.allowed(f, region)) is not None]
        if not self.live.all():
            masks.append(self.live)
        both = None
        for mask in masks:
            both = mask.copy() if both is None else both & mask
        return both

    def part(self, ask: Ask, allowed_N: np.ndarray | None, coarse_N: np.ndarray | None = None) -> tuple[Part, Best]:
        """Return the segment's candidates, whose places are (0, row), and how its scan found them.

        Args:
            ask: the query.
            allowed_N: as `allowed` gives it.
            coarse_N: one query's row of `products`; it is overwritten.
        """
        usable = self._mask(ask.scanned, allowed_N)
        wanted = ask.wanted
        while True:
            found = self._best(ask, wanted, usable, None if coarse_N is None else coarse_N.copy())
            if not ask.one_a_patient:
                break
            firsts = np.sort(np.unique(self.columns.patients(found.rows), return_index=True)[1])
            if len(firsts) >= ask.wanted or len(found.rows) < wanted:
                at = firsts[: ask.wanted]
                found = replace(found, rows=found.rows[at], scores=found.scores[at])
                break
            wanted *= ONE_A_PATIENT_GROWTH
        if usable is not None and not usable[found.rows].all():
            raise AssertionError("a search returned a row that its filter forbids")
        both = (ask.seen, ask.local, self.vectors[Region.WRIST], self.vectors[ask.region])
        part = candidates(found, ask.by_region, *both)
        return Part(
            self.ids[found.rows],
            self.columns.patients(found.rows),
            part.global_scores,
            part.region_scores,
            part.places,
        ), found

    def products(self, queries_QD: np.ndarray, region: Region) -> np.ndarray:
        """Return (Q, N) float32 for `coarse_N`: one product for several queries."""
        return products(queries_QD, self.vectors[region], self._codes[region])

    def is_approximate(self, region: Region) -> bool:
        """Return whether this region is looked up in an index that may miss rows."""
        return region in self._approximate

    def _mask(self, region: Region, allowed_N: np.ndarray | None) -> np.ndarray | None:
        if allowed_N is None:
            return None if self._whole[region] else self._usable[region]
        return allowed_N if self._whole[region] else allowed_N & self._usable[region]

    def _best(self, ask: Ask, wanted: int, usable: np.ndarray | None, coarse_N: np.ndarray | None) -> Best:
        vectors_ND = self.vectors[ask.scanned]
        most = len(vectors_ND) if usable is None else int(np.count_nonzero(usable))
        if self.is_approximate(ask.scanned) and most >= GATHER_SHARE * len(vectors_ND):
            rows = self._approximate[ask.scanned].rows(ask.vector, wanted, usable)
            if len(rows) >= min(wanted, most):  # else the filter left the index too little to find: scan
                full = scores_at(ask.vector, vectors_ND, rows)
                order = top(full, wanted)
                return Best(rows[order], full[order], False, True)
        return best(ask.vector, vectors_ND, wanted, usable, self._codes[ask.scanned], coarse_N)


def _read_vectors(folder: Path, region: Region) -> np.ndarray:
    """Return (N, D) float32, mapped; of a region that is not stored NaN, which takes no memory."""
    file = folder / f"{region.value}.npy"
    if file.exists():
        return np.asarray(np.load(file, mmap_mode="r"))
    whole = np.load(folder / f"{Region.WRIST.value}.npy", mmap_mode="r")
    return np.broadcast_to(np.float32(np.nan), whole.shape)


def read_exams(file: Any, held: slice) -> pa.Table:
    """Return metadata of some rows: of the file only the row groups that hold one are read, one after the other."""
    with pq.ParquetFile(file) as parquet:
        if held.start is None:
            return parquet.read().combine_chunks()
        parts, start = [parquet.schema_arrow.empty_table()], 0
        for group in range(parquet.num_row_groups):
            stop = start + parquet.metadata.row_group(group).num_rows
            low, high = max(held.start, start), min(held.stop, stop)
            if low < high:
                part = parquet.read_row_group(group)
                if high - low < part.num_rows:  # a slice would keep the whole group
                    part = part.take(pa.array(np.arange(low - start, high - start)))
                parts.append(part)
            start = stop
        return pa.concat_tables(parts).combine_chunks()


def read_codes(folder: Path, region: Region, held: slice = slice(None)) -> Codes | None:
    """Return a region's codes of some rows, mapped, or None where it has none."""
    axes, leading, rest = (folder / f"{region.value}.{name}.npy" for name in ("axes", "leading", "rest"))
    if not axes.exists():
        return None
    mapped = [np.asarray(np.load(f, mmap_mode="r")) for f in (axes, leading, rest)]
    return Codes(mapped[0], mapped[1][held], mapped[2][held])


def write_codes(folder: Path, region: Region, codes: Codes) -> None:
    """Write a region's codes beside its vectors."""
    for name, array in (("axes", codes.axes), ("leading", codes.leading), ("rest", codes.rest)):
        np.save(folder / f"{region.value}.{name}.npy", array)


def metadata(segment: Segment, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return metadata of rows, in their order."""
    found: list[dict[str, Any]] = segment.exams.take(pa.array(rows, pa.int64())).to_pylist()
    return found
