"""What a job has finished while it runs: Parquet files named by the keys they hold, whole or not there."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, storage
from wristmir_ray.spill import dataset
from wristmir_ray.tables import Table, conform

Writer = Callable[[pa.Table], pa.Table]
"""Stores a batch of a job's rows as one fragment, and gives a receipt: num_rows."""


def write_fragment(batch: pa.Table, folder: str, table: Table) -> pa.Table:
    """Store one batch. Columns: table's -> num_rows. 1:1 into a file named by its keys."""
    if batch.num_rows:
        rows = conform({n: batch[n] for n in batch.column_names}, table)
        name = keys.digest(*sorted(rows[table.key[0]].to_pylist()))
        storage.write_parquet(rows, storage.join(folder, f"{name}.parquet"), table.row_group_size)
    return pa.table({"num_rows": pa.array([batch.num_rows], pa.int64())})


def done_keys(folder: str, table: Table) -> pa.Array:
    """Return the keys that fragments hold."""
    files = storage.list_files(folder, ".parquet")
    if not files:
        return pa.array([], pa.string())
    return pc.unique(dataset(files, table.schema).to_table(columns=[table.key[0]]).column(0))
