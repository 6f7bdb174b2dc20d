"""CSV, Parquet and JSONL as columns of text, a batch at a time, on disk or on S3."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest.config import TableFile

_BATCH_ROWS = 16_384
_BLOCK_BYTES = 4 * 2**20
_BROKEN = (pa.ArrowException, UnicodeError, LookupError, ValueError, OSError)


class _NoColumn(Exception):
    """A mapped column is not there; holds our name and the table's."""


def file_digest(file: TableFile) -> str:
    """Return a hash of a table's bytes; "" where none is configured. ConfigError where it cannot be read."""
    if not file.path:
        return ""
    h = hashlib.sha256()
    with _open(file) as data:
        while block := data.read(_BLOCK_BYTES):
            h.update(block)
    return h.hexdigest()[:32]


def read_strings(file: TableFile, columns: Mapping[str, str], what: str) -> Iterator[pa.Table]:
    """Yield the mapped columns as text, under our names, a batch at a time.

    Args:
        file: where the table lies and how it is written.
        columns: our name -> the table's column.
        what: the setting, for messages.

    Raises:
        ConfigError: the file cannot be read, or lacks a mapped column.
    """
    path = str(file.path)
    try:
        with _open(file) as data:
            if path.endswith(".parquet"):
                yield from _parquet(data, columns)
            elif path.endswith((".jsonl", ".ndjson", ".json")):
                yield from _json_lines(data, columns)
            else:
                yield from _csv(data, file, columns)
    except ConfigError:
        raise
    except _NoColumn as e:
        ours, theirs = e.args
        raise ConfigError(f"{what}.path {path} has no column '{theirs}' (setting {what}.columns.{ours})") from None
    except _BROKEN as e:
        raise ConfigError(f"{what}.path {path} is no readable table ({type(e).__name__})") from None


def _open(file: TableFile) -> Any:
    try:
        fs, path = storage.filesystem(str(file.path))
        return fs.open_input_file(path)
    except OSError as e:
        raise ConfigError(f"table {file.path} cannot be read ({type(e).__name__})") from None


def _check(columns: Mapping[str, str], there: list[str]) -> None:
    for ours, theirs in columns.items():
        if theirs not in there:
            raise _NoColumn(ours, theirs)


def _renamed(batch: pa.RecordBatch, columns: Mapping[str, str]) -> pa.Table:
    return pa.table({ours: batch[theirs].cast(pa.string()) for ours, theirs in columns.items()})


def _parquet(data: Any, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    file = pq.ParquetFile(data)
    _check(columns, file.schema_arrow.names)
    for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns.values())):
        yield _renamed(batch, columns)


def _csv(data: Any, file: TableFile, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    parse = pacsv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(columns.values(), pa.string()),
        include_columns=sorted(set(columns.values())),
        include_missing_columns=True,
        strings_can_be_null=True,
        null_values=[""],
    )
    _check(columns, _csv_header(file))
    options = pacsv.ReadOptions(encoding=file.encoding, use_threads=False, block_size=_BLOCK_BYTES)
    for batch in pacsv.open_csv(data, options, parse, convert):
        yield _renamed(batch, columns)


def _csv_header(file: TableFile) -> list[str]:
    """Return a CSV's column names: Arrow's streaming reader converts before it tells them."""
    parse = pacsv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(check_utf8=False)
    options = pacsv.ReadOptions(encoding=file.encoding, use_threads=False, block_size=_BLOCK_BYTES)
    with _open(file) as data:
        return list(pacsv.open_csv(data, options, parse, convert).schema.names)


def _json_lines(data: Any, columns: Mapping[str, str]) -> Iterator[pa.Table]:
    """Yield columns: null where a row leaves one out; one that the whole first batch leaves out is not there."""
    lines = (line for line in io.TextIOWrapper(data, encoding="utf-8-sig") if line.strip())
    first = True
    while batch := [_object(line) for line in islice(lines, _BATCH_ROWS)]:
        if first:
            _check(columns, [name for row in batch for name in row])
        first = False
        yield pa.table(
            {ours: pa.array([_text(row.get(c)) for row in batch], pa.string()) for ours, c in columns.items()}
        )
    if first:
        raise ValueError


def _object(line: str) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError
    return row


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
