"""The published tables of a run: what its fragments are exploded into, sorted on the driver or by Ray Data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray.data

from wristmir_ray import storage
from wristmir_ray.schemas import Table, conform
from wristmir_ray.shards import write_shard
from wristmir_ray.spill import dataset

DRIVER_SORT_BYTES = 512 * 2**20
"""Fragments up to this size in memory are sorted on the driver (seconds cheaper); larger ones by Ray Data."""

EXPLODE_ROWS = 4096
"""Rows exploded at a time: an `explode` that goes through Python objects needs some ten times their size."""


@dataclass(frozen=True)
class Output:
    """A table a job publishes, and how it comes out of the job's fragments (row-wise, Arrow)."""

    table: Table
    explode: Callable[[pa.Table], pa.Table] | None = None


def fit_driver(files: Sequence[str], fragment: Table) -> bool:
    """Return whether fragments are small enough to be sorted on the driver."""
    return _unpacked_bytes(files, fragment) <= DRIVER_SORT_BYTES


def _unpacked_bytes(files: Sequence[str], table: Table) -> int:
    """Return about how much memory these files take, judged by a few of them: text packs to a tenth and far less."""
    some = files[:: len(files) // 8 + 1]
    if not some:
        return 0
    return int(dataset(some, table.schema).to_table().nbytes * storage.total_bytes(files) / storage.total_bytes(some))


def sort_shards(files: Sequence[str], fragment: Table, output: Output, folder: str) -> list[dict[str, Any]]:
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
