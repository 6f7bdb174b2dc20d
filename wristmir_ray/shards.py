"""The sorted Parquet files of a published table: one a key range, each with a receipt.

A shard is named by its first key, so that a retried task overwrites its own file.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.tables import Table, conform

RECEIPT = pa.schema(
    [
        ("file", pa.string()),
        ("num_rows", pa.int64()),
        ("codes", pa.list_(pa.string())),
        ("counts", pa.list_(pa.int64())),
    ]
)
"""What a manifest needs to know of one file: its rows, and its rejects by code."""


def write_shard(batch: pa.Table, table: Table, folder: str) -> pa.Table:
    """Sort one key range, drop doubles, store it under its first key. Gives one receipt."""
    rows = drop_doubles(conform({n: batch[n] for n in batch.column_names}, table), table)
    if not rows.num_rows:
        return pa.Table.from_pylist([{"file": "", "num_rows": 0, "codes": [], "counts": []}], RECEIPT)
    first = "-".join(str(rows[k][0].as_py()) for k in table.key[:2])
    name = f"{first}.parquet"
    storage.write_parquet(rows, storage.join(folder, name), table.row_group_size)
    codes = Counter(rows["error"].drop_null().to_pylist())
    receipt = {"file": name, "num_rows": rows.num_rows, "codes": list(codes), "counts": list(codes.values())}
    return pa.Table.from_pylist([receipt], RECEIPT)


def totals(receipts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a manifest's `rows`, `rejects` and `files` from the receipts of all shards."""
    rejects: Counter[str] = Counter()
    num_rows, files = 0, []
    for receipt in receipts:
        rejects.update(dict(zip(receipt["codes"], receipt["counts"], strict=True)))
        num_rows += receipt["num_rows"]
        files += [receipt["file"]] if receipt["num_rows"] else []
    return {"rows": num_rows, "rejects": dict(sorted(rejects.items())), "files": sorted(files)}


def drop_doubles(rows: pa.Table, table: Table) -> pa.Table:
    """Return the rows sorted by key, the first of each key only."""
    order = pc.sort_indices(rows.select(list(table.key)), [(k, "ascending") for k in table.key])
    if not order.equals(pa.array(range(len(order)), order.type)):  # images are copied only where they must be
        rows = rows.take(order)
    if rows.num_rows < 2:
        return rows
    same = None
    for k in table.key:
        column = rows[k].combine_chunks()
        equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        same = equal if same is None else pc.and_(same, equal)
    same = pc.fill_null(same, False)
    return rows.filter(pa.concat_arrays([pa.array([True]), pc.invert(same)])) if pc.any(same).as_py() else rows
