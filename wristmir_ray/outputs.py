"""The published tables of a run, from its fragments: key range by key range, or by Ray Data's sort.

A job that reads a sorted table leaves fragments that are sorted among themselves, or nearly so. Such
fragments need no shuffle: the key space is cut into ranges of a bounded size, and each range is read
from the row groups that overlap it, exploded, sorted and written by itself. Only where that would
read the fragments several times over, since their keys lie at random, does Ray Data sort them.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray.data

from wristmir_ray import storage
from wristmir_ray.shards import write_shard
from wristmir_ray.spill import dataset
from wristmir_ray.tables import Table, conform

DRIVER_BYTES = 2**30
"""Fragments up to this size in memory are merged on threads of the driver (seconds cheaper); larger ones by tasks."""

RANGE_BYTES = 32 * 2**20
"""A range, about, in memory: some of them are in work at a time, each in a few copies."""

MOST_READ = 3.0
"""How often the fragments may be read, all told, before a sort is cheaper than ranges."""

EXPLODE_ROWS = 4096
"""Rows exploded at a time: an `explode` that goes through Python objects needs some ten times their size."""

_FOOTERS = 16
"""Files whose footers are read at a time."""

Receipts = list[dict[str, Any]]


@dataclass(frozen=True)
class Output:
    """A table a job publishes, and how it comes out of the job's fragments (row-wise, Arrow)."""

    table: Table
    explode: Callable[[pa.Table], pa.Table] | None = None


@dataclass(frozen=True)
class Piece:
    """A row group of a fragment: its keys lie between the first and the last."""

    file: str
    first: str
    last: str
    rows: int


@dataclass(frozen=True)
class KeyRange:
    """Keys from the first, included, to the end, excluded; None is unbounded. With the files of some, in order."""

    first: str | None
    end: str | None
    files: tuple[str, ...]

    def holds(self, key: str) -> pc.Expression | None:
        """Return the filter of the range, or None where it holds everything."""
        bounds = [pc.field(key) >= self.first] if self.first is not None else []
        bounds += [pc.field(key) < self.end] if self.end is not None else []
        return bounds[0] & bounds[1] if len(bounds) == 2 else bounds[0] if bounds else None


def write_outputs(
    files: Sequence[str],
    fragment: Table,
    places: Mapping[str, Output],
    connect: Callable[[], None],
) -> list[Receipts]:
    """Write the sorted files of all tables; return the receipts of each.

    Args:
        files: the fragments.
        fragment: their schema.
        places: folder -> the table that is written there.
        connect: makes Ray ready; called when the fragments are too large for the driver.
    """
    outputs = list(places.values())
    size = _unpacked_bytes(files, fragment)
    ranges = plan(files, outputs, fragment, size)
    if ranges is None and size > DRIVER_BYTES:
        connect()
        return [sort_shards(files, fragment, output, folder) for folder, output in places.items()]
    ranges = ranges or [KeyRange(None, None, tuple(files))]
    merge: dict[str, Any] = {"fragment": fragment, "places": places}
    if size <= DRIVER_BYTES:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done = list(pool.map(lambda part: write_range(part, **merge), ranges))
    else:
        connect()
        done = _by_tasks(ranges, merge)
    return [[receipt for receipts in done for receipt in receipts[i]] for i in range(len(outputs))]


def plan(files: Sequence[str], outputs: Sequence[Output], fragment: Table, size: int) -> list[KeyRange] | None:
    """Return the ranges that cut the fragments into parts of about RANGE_BYTES, in order; None where they cannot serve.

    Args:
        files: the fragments.
        outputs: what is made from them, sorted by one column of the fragments.
        fragment: the fragments' schema.
        size: of the fragments in memory, bytes.
    """
    keys = {output.table.key[0] for output in outputs}
    if len(keys) != 1 or not keys <= set(fragment.schema.names):
        return None
    pieces = row_groups(files, keys.pop())
    return None if pieces is None else cut(pieces, parts=-(-size // RANGE_BYTES))


def cut(pieces: Sequence[Piece], parts: int) -> list[KeyRange] | None:
    """Return about `parts` ranges of about equal rows; None where they read the pieces more than MOST_READ times.

    A piece that overlaps several ranges is read for each of them.
    """
    total = sum(p.rows for p in pieces)
    in_order = sorted(pieces, key=lambda p: p.first)
    bounds: list[str] = []
    before = 0
    for piece in in_order:
        if before * parts >= (len(bounds) + 1) * total and piece.first > (bounds or [in_order[0].first])[-1]:
            bounds.append(piece.first)
        before += piece.rows
    files: list[dict[str, None]] = [{} for _ in range(len(bounds) + 1)]
    read = 0
    for piece in in_order:
        for i in range(bisect_right(bounds, piece.first), bisect_right(bounds, piece.last) + 1):
            files[i][piece.file] = None
            read += piece.rows
            if read > MOST_READ * total:
                return None
    ends = pairwise([None, *bounds, None])
    return [KeyRange(first, end, tuple(some)) for (first, end), some in zip(ends, files, strict=True)]


def row_groups(files: Sequence[str], key: str) -> list[Piece] | None:
    """Return what the footers say of the key, a piece a row group; None where one does not say it, or has no key."""
    with ThreadPoolExecutor(_FOOTERS) as pool:
        pieces = [p for of_file in pool.map(lambda f: list(_pieces(f, key)), files) for p in of_file]
    return None if any(p is None for p in pieces) else [p for p in pieces if p is not None]


def _pieces(file: str, key: str) -> Iterable[Piece | None]:
    fs, path = storage.filesystem(file)
    footer = pq.read_metadata(path, filesystem=fs)
    column = footer.schema.names.index(key) if key in footer.schema.names else -1
    for i in range(footer.num_row_groups):
        group = footer.row_group(i)
        if not group.num_rows:
            continue
        told = group.column(column).statistics if column >= 0 else None
        if told is None or not told.has_min_max or told.null_count:
            yield None
        else:
            yield Piece(file, str(told.min), str(told.max), group.num_rows)


def write_range(part: KeyRange, fragment: Table, places: Mapping[str, Output]) -> list[Receipts]:
    """Read one range of the fragments, and write what each table has of it; return the receipts of each table."""
    key = next(iter(places.values())).table.key[0]
    if part.files:
        rows = dataset(part.files, fragment.schema).to_table(filter=part.holds(key))
    else:
        rows = fragment.schema.empty_table()
    return [write_shard(explode(rows, o), o.table, folder).to_pylist() for folder, o in places.items()]


def _by_tasks(ranges: Sequence[KeyRange], merge: Mapping[str, Any]) -> list[list[Receipts]]:
    """Write every range in a task of its own; what a retried one has written it writes again, under the same name."""
    todo = ray.data.from_arrow([pa.table({"range": [i]}) for i in range(len(ranges))])
    arguments = {"ranges": ray.put(list(ranges)), **merge}
    rows = todo.map_batches(_task, fn_kwargs=arguments, batch_format="pyarrow", batch_size=None).take_all()
    return [row["receipts"] for row in sorted(rows, key=lambda row: int(row["range"]))]


def _task(batch: pa.Table, ranges: Any, **merge: Any) -> pa.Table:
    known = ray.get(ranges) if isinstance(ranges, ray.ObjectRef) else ranges
    numbers = batch["range"].to_pylist()
    return pa.table({"range": numbers, "receipts": [write_range(known[i], **merge) for i in numbers]})


def _unpacked_bytes(files: Sequence[str], table: Table) -> int:
    """Return about how much memory these files take, judged by a few of them: text packs to a tenth and far less."""
    some = files[:: len(files) // 8 + 1]
    if not some:
        return 0
    return int(dataset(some, table.schema).to_table().nbytes * storage.total_bytes(files) / storage.total_bytes(some))


def sort_shards(files: Sequence[str], fragment: Table, output: Output, folder: str) -> Receipts:
    """Sort and write one table by Ray Data; return a receipt a key range."""
    fs, _ = storage.filesystem(folder)
    return list(
        ray.data.read_parquet([storage.filesystem(f)[1] for f in files], filesystem=fs)
        .map_batches(
            _explode_batch,
            fn_kwargs={"fragment": fragment, "output": output},
            batch_format="pyarrow",
            batch_size=None,
        )
        .sort(list(output.table.key))
        .map_batches(
            write_shard,
            fn_kwargs={"table": output.table, "folder": folder},
            batch_format="pyarrow",
            batch_size=None,
        )
        .take_all()
    )


def explode(batch: pa.Table, output: Output) -> pa.Table:
    """Return fragments' rows as rows of a published table."""
    if output.explode is None:
        return batch
    starts = range(0, max(1, batch.num_rows), EXPLODE_ROWS)
    return pa.concat_tables([output.explode(batch.slice(i, EXPLODE_ROWS)) for i in starts])


def _explode_batch(batch: pa.Table, fragment: Table, output: Output) -> pa.Table:
    return explode(conform({n: batch[n] for n in batch.column_names}, fragment), output)
