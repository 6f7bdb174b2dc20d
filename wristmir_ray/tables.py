"""What a declared table is, and how columns are made to fit one exactly."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray.errors import SchemaError


@dataclass(frozen=True)
class Table:
    """A declared table: its name on storage, its key columns and its Arrow schema."""

    name: str
    key: tuple[str, ...]
    schema: pa.Schema
    row_group_size: int = 4096

    @property
    def fingerprint(self) -> str:
        """Hash of names and types; a reader refuses a run written under another one."""
        text = ";".join(f"{f.name}:{f.type}" for f in self.schema) + "|" + ",".join(self.key)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def conform(columns: Mapping[str, Any] | Sequence[Mapping[str, Any]], table: Table) -> pa.Table:
    """Return the columns (or rows) as an Arrow table of exactly the declared schema.

    A column that is missing becomes null, so that a reject row names only what it knows.

    Args:
        columns: column name -> values (list, ndarray or Arrow array), or a list of row dicts.
        table: the declared table.

    Raises:
        SchemaError: an undeclared column, columns of unequal length, or a value of a wrong type.
    """
    if isinstance(columns, Mapping):
        unknown = set(columns) - set(table.schema.names)
        length = max((len(v) for v in columns.values()), default=0)
    else:
        rows = list(columns)
        unknown = {name for row in rows for name in row} - set(table.schema.names)
        length = len(rows)
        columns = {n: [row.get(n) for row in rows] for n in table.schema.names}
    if unknown:
        raise SchemaError(f"table {table.name} declares no column {sorted(unknown)}")
    arrays = []
    for field in table.schema:
        values = columns.get(field.name)
        if values is not None and len(values) != length:
            raise SchemaError(f"column {table.name}.{field.name} has {len(values)} rows, others {length}")
        try:
            arrays.append(_array(values, field.type, length))
        except (pa.ArrowException, TypeError, ValueError) as e:
            raise SchemaError(
                f"column {table.name}.{field.name} does not fit {field.type} ({type(e).__name__})"
            ) from None
    return pa.Table.from_arrays(arrays, schema=table.schema)


def _array(values: Any, kind: pa.DataType, length: int) -> pa.Array | pa.ChunkedArray:
    if values is None:
        return pa.nulls(length, kind)
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensor(values, kind)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values.cast(kind)
    return pa.array(list(values), kind)


def _tensor(values: Any, kind: pa.FixedShapeTensorType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray) and values.type == kind:
        return values
    size = int(np.prod(kind.shape))
    rows = [None if v is None else np.asarray(v, np.float32).reshape(size) for v in values]
    return pa.ExtensionArray.from_storage(kind, pa.array(rows, pa.list_(pa.float32(), size)))


def vectors(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a fixed_shape_tensor column as float32 (N, D); a null row becomes NaN."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    dim = int(np.prod(column.type.shape))
    out = np.full((len(column), dim), np.nan, np.float32)
    valid = np.asarray(column.is_valid())
    storage = column.storage.filter(pa.array(valid))
    out[valid] = np.asarray(storage.flatten(), np.float32).reshape(-1, dim)
    return out
