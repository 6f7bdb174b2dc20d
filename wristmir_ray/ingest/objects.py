"""The archive's objects beside what the metadata table says of them, sorted by key."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.anatomy import View
from wristmir_ray.errors import ConfigError, ErrorCode
from wristmir_ray.ingest.listing import LISTING
from wristmir_ray.ingest.names import match, place
from wristmir_ray.ingest.sidecar import KNOWN
from wristmir_ray.spill import Spill, key_ranges

OBJECTS = pa.schema([*LISTING, *KNOWN, ("unread", pa.string())])
"""A row is one object; `unread` is the code for which it is not read at all, null where it is."""

PLACED = pa.schema([("place", pa.string()), *LISTING])


@dataclass(frozen=True)
class Objects:
    """All objects of an archive, and what they are together."""

    rows: Spill
    digest: str
    """Of every key and whether it is to be read: another one, another run."""
    metadata_rows: int
    """Rows of the metadata table."""
    metadata_unmatched: int
    """Those that name none of the objects."""


def find_objects(
    batches: Iterable[pa.Table], metadata: Spill, metadata_rows: int, max_bytes: int, table: str, folder: str
) -> Objects:
    """Match an archive's objects with the rows of the metadata table.

    Args:
        batches: LISTING; an object may come twice.
        metadata: METADATA, sorted by place.
        metadata_rows: rows of the table; for each of them a byte is kept in memory.
        max_bytes: larger objects are not read.
        table: the metadata table's path, for messages.
        folder: where spills are written.

    Raises:
        ConfigError: the table names a file twice.
    """
    placed = Spill(f"{folder}/placed", PLACED, "place", "source_id")
    for batch in batches:
        uris = batch["source_uri"].to_pylist() if metadata.num_rows else []  # without a table any place will do
        where = pa.array([place(uri) for uri in uris], pa.string()) if uris else batch["source_id"]
        placed.put(pa.table([where, *batch.columns], schema=PLACED))
    out = Spill(f"{folder}/objects", OBJECTS, "source_id")
    matched = np.zeros(metadata_rows, bool)  # a row is looked for at two places, and may be found at both
    for part in key_ranges(max(placed.num_rows, metadata.num_rows)):
        listed = _distinct(placed.read(part)).drop_columns("place")
        told = metadata.read(part)
        found = _rows_of(listed["source_uri"].to_pylist(), told, table)
        matched[told["row"].take(found.drop_null()).to_numpy()] = True
        known = told.select(KNOWN.names).take(found)
        columns = [*listed.columns, *known.columns, _unread(listed["size"], known["view"], max_bytes)]
        out.put(pa.table(columns, schema=OBJECTS))
    return Objects(out, _digest(out), metadata_rows, metadata_rows - int(matched.sum()))


def _distinct(rows: pa.Table) -> pa.Table:
    """Return the first row of each key: equal keys have equal places, so that they stand beside each other."""
    ids = rows["source_id"].combine_chunks()
    if len(ids) < 2:
        return rows
    again = pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))
    return rows.filter(pa.concat_arrays([pa.array([True]), pc.invert(again)]))


def _rows_of(uris: list[str], metadata: pa.Table, table: str) -> pa.Array:
    """Return for each address the place in `metadata` of the row that names it, null where none does."""
    place_of: dict[str, int] = {}
    numbers = metadata["row"].to_pylist()
    for i, name in enumerate(metadata["name"].to_pylist()):
        earlier = place_of.setdefault(name, i)
        if numbers[earlier] != numbers[i]:
            pair = sorted((numbers[earlier] + 1, numbers[i] + 1))
            raise ConfigError(f"metadata.path {table} names a file twice (rows {pair[0]} and {pair[1]})")
    return match(uris, place_of)


def _unread(size: pa.ChunkedArray, view: pa.ChunkedArray, max_bytes: int) -> pa.ChunkedArray:
    """Return the code of each object that is not read: the table's view first, then what the listing says."""
    other_view = pc.fill_null(pc.not_equal(view, View.PA.value), False)
    gone = pc.fill_null(pc.equal(size, -1), False)
    large = pc.fill_null(pc.greater(size, max_bytes), False)
    nothing = pa.scalar(None, pa.string())
    code = pc.if_else(large, ErrorCode.IMAGE_TOO_LARGE.value, nothing)
    code = pc.if_else(gone, ErrorCode.SOURCE_UNREADABLE.value, code)
    return pc.if_else(other_view, ErrorCode.VIEW_NOT_PA.value, code)


def _digest(objects: Spill) -> str:
    h = hashlib.sha256()
    for rows in objects.ranges():
        pairs = zip(rows["source_id"].to_pylist(), rows["unread"].to_pylist(), strict=True)
        h.update("".join(f"{source_id} {code}\n" for source_id, code in pairs).encode())
    return h.hexdigest()[:32]
