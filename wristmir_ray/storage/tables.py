"""Published tables: Parquet files in key order, read whole, in part, or row by row."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from wristmir_ray.errors import SchemaError
from wristmir_ray.storage.objects import filesystem, join, write_bytes
from wristmir_ray.storage.runs import Manifest, published, run_uri
from wristmir_ray.tables import Table


def write_parquet(table: pa.Table, uri: str, row_group_size: int) -> None:
    """Write one Parquet file whole or not at all.

    Binary columns hold compressed images: they are stored as they are, without another
    compression, a dictionary or statistics, which would cost time and save no byte.
    """
    leaves = dict(_leaves(table.schema))
    plain = [path for path, kind in leaves.items() if not _is_binary(kind)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_size,
        compression={path: "zstd" if path in plain else "none" for path in leaves},
        compression_level=dict.fromkeys(plain, 1) or None,
        use_dictionary=plain,
        write_statistics=plain,
    )
    write_bytes(uri, sink.getvalue())


def _leaves(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """Yield a schema's Parquet columns: dotted path and type."""
    for leaf in fields:
        path, kind = prefix + leaf.name, leaf.type
        while True:
            if isinstance(kind, pa.BaseExtensionType):
                kind = kind.storage_type
            elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
                path, kind = f"{path}.list.element", kind.value_type
            else:
                break
        if pa.types.is_struct(kind):
            yield from _leaves(kind.fields, f"{path}.")
        else:
            yield path, kind


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def table_files(root: str, manifest: Manifest) -> list[str]:
    """Return the addresses of a published table's Parquet files, in key order."""
    folder = run_uri(root, manifest.name, manifest.run_id)
    return [join(folder, f) for f in manifest.files]


def published_table(root: str, table: Table, run_id: str | None = None) -> Manifest:
    """Return a table's current run, or the pinned one.

    Raises:
        NotPublished: there is none. SchemaError: it was written under another schema.
    """
    manifest = published(root, table.name, run_id)
    if manifest.schema != table.fingerprint:
        raise SchemaError(f"table {table.name} run {manifest.run_id} has another schema; run its job again")
    return manifest


def read_table(
    root: str,
    table: Table,
    run_id: str | None = None,
    columns: Sequence[str] | None = None,
    good_only: bool = True,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Return a published table in key order.

    Args:
        root: folder or s3:// prefix.
        table: its declaration.
        run_id: pinned run; default the current one.
        columns: columns to read; default all.
        good_only: leave rows with an `error` out.
        where: further Arrow filter.

    Raises:
        NotPublished: no such run. SchemaError: it was written under another schema.
    """
    manifest = published_table(root, table, run_id)
    files = table_files(root, manifest)
    if not files:
        return table.schema.empty_table().select(list(columns or table.schema.names))
    condition = pc.field("error").is_null() if good_only else None
    if where is not None:
        condition = where if condition is None else condition & where
    fs, _ = filesystem(root)
    data = pads.dataset([filesystem(f)[1] for f in files], schema=table.schema, filesystem=fs, format="parquet")
    return data.to_table(columns=list(columns) if columns else None, filter=condition)


class KeyedReader:
    """Reads single rows of a published table by key, without a scan.

    A published table is sorted by its first key column and written in small row groups, so that
    the row groups' minima and maxima in the Parquet footers are the locator: a look-up reads one
    row group.
    """

    def __init__(self, root: str, table: Table, run_id: str | None = None) -> None:
        manifest = published(root, table.name, run_id)
        self._table = table
        self._files = table_files(root, manifest)
        self._groups = sorted(self._footers())
        self._highs = [high for _, high, _, _ in self._groups]

    def _footers(self) -> Iterator[tuple[str, str, int, int]]:
        column = self._table.schema.get_field_index(self._table.key[0])
        for i, uri in enumerate(self._files):
            fs, path = filesystem(uri)
            meta = pq.read_metadata(path, filesystem=fs)
            for g in range(meta.num_row_groups):
                stats = meta.row_group(g).column(column).statistics
                yield stats.min, stats.max, i, g  # ascending in both, as the table is sorted

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Return every row whose first key column equals `key` (empty where there is none)."""
        out: list[dict[str, Any]] = []
        for low, _, i, g in self._groups[bisect_left(self._highs, key) :]:
            if low > key:
                break
            fs, path = filesystem(self._files[i])
            group = pq.ParquetFile(path, filesystem=fs).read_row_group(g)
            out += group.filter(pc.field(self._table.key[0]) == key).to_pylist()
        return out
