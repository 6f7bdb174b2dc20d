"""Tables longer than memory: rows go in as they come, and come back sorted by a hash, range by range.

A *spill* buffers rows; full, it sorts the buffer and writes it as one Parquet file (a run of an
external merge sort). Its first key column is a hash in hex, hence uniform: `key_ranges` cuts the
hashes into ranges of about equal rows, and tables that share a hash are merged range by range. What
is in memory: `SPILL_BYTES` a spill, and one range of each.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from wristmir_ray import storage

SPILL_BYTES = 32 * 2**20
"""Rows that a spill holds in memory, in bytes."""

RANGE_ROWS = 50_000
"""Rows of a range, about."""

_GROUP_ROWS = 4096
_ABOVE = "g"
"""Sorts behind every hexadecimal digit."""

KeyRange = tuple[str, str]
"""Keys from the first, included, to the second, excluded."""

EVERYTHING: KeyRange = ("", _ABOVE)


def key_ranges(num_rows: int) -> list[KeyRange]:
    """Return the ranges, in order, that cut `num_rows` uniform hashes into parts of `RANGE_ROWS`."""
    parts = -(-num_rows // RANGE_ROWS) or 1
    bounds = ["", *(f"{i * 2**32 // parts:08x}" for i in range(1, parts)), _ABOVE]
    return list(pairwise(bounds))


def within(key: str, part: KeyRange) -> pc.Expression:
    """Return the filter of one range; with it a sorted Parquet file is read in part."""
    return (pc.field(key) >= part[0]) & (pc.field(key) < part[1])


class Spill:
    """Rows of one schema, sorted by `sort_by`, of which the first column is a hash and never null.

    Args:
        folder: where runs are written, once there is one; nothing is, while the rows fit in memory.
        schema: of every table that is put in.
        sort_by: columns of the order; equal rows keep the order they came in.
    """

    def __init__(self, folder: str, schema: pa.Schema, *sort_by: str) -> None:
        self.num_rows = 0
        self._folder = folder
        self._schema = schema
        self._order = [(name, "ascending") for name in sort_by]
        self._buffer: list[pa.Table] = []
        self._bytes = 0
        self._files: list[str] = []

    def put(self, rows: pa.Table) -> None:
        """Add rows."""
        self.num_rows += rows.num_rows
        self._buffer.append(rows.cast(self._schema))
        self._bytes += rows.nbytes
        if self._bytes > SPILL_BYTES:
            self._flush()

    def read(self, part: KeyRange = EVERYTHING) -> pa.Table:
        """Return the rows of one range, sorted."""
        condition = within(self._order[0][0], part)
        tables = [t.filter(condition) for t in self._buffer]
        if self._files:
            tables.insert(0, dataset(self._files, self._schema).to_table(filter=condition))
        return self._sorted(tables)

    def ranges(self) -> Iterator[pa.Table]:
        """Yield all rows, sorted, a range at a time."""
        for part in key_ranges(self.num_rows):
            yield self.read(part)

    def files(self) -> list[str]:
        """Return the files of all rows, or none where the rows fit in memory."""
        if self._files:
            self._flush()
        return self._files

    def _sorted(self, tables: Sequence[pa.Table]) -> pa.Table:
        rows = pa.concat_tables(tables) if tables else self._schema.empty_table()
        return rows.take(pc.sort_indices(rows, self._order)).combine_chunks()

    def _flush(self) -> None:
        if not self._files:
            storage.check_writable(self._folder)
        rows = self._sorted(self._buffer)
        self._buffer, self._bytes = [], 0
        if rows.num_rows:
            self._files.append(storage.join(self._folder, f"{len(self._files):06d}.parquet"))
            storage.write_parquet(rows, self._files[-1], _GROUP_ROWS)


def dataset(files: Sequence[str], schema: pa.Schema) -> pads.Dataset:
    """Return Parquet files of one place as an Arrow dataset."""
    fs, _ = storage.filesystem(files[0])
    return pads.dataset([storage.filesystem(f)[1] for f in files], schema=schema, filesystem=fs, format="parquet")
