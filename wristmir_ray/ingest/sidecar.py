"""The tables beside the images: metadata, matched to files; reports, matched to studies."""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest.config import MetadataConfig, ReportsConfig, TableFile

KNOWN = pa.schema(
    [
        ("patient_id", pa.string()),
        ("accession", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("age_years", pa.float32()),
        ("sex", pa.string()),
        ("study_date", pa.date32()),
    ]
)
"""What the metadata table says of one image; identifiers are still the archive's own."""

TEXTS = pa.schema([("accession", pa.string()), ("text", pa.string())])
"""One row a study, with its whole report."""

_SOURCE_ID = re.compile(r"[0-9a-f]{32}")


def read_release(path: str | None) -> frozenset[str]:
    """Return the source ids that a person has let through the de-identification gate.

    Raises:
        ConfigError: the file cannot be read, or a line is no source id.
    """
    if not path:
        return frozenset()
    try:
        lines = storage.read_bytes(path).decode().splitlines()
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"deid.release {path} cannot be read ({type(e).__name__})") from None
    ids = [line.partition("#")[0].strip() for line in lines]
    for number, found in enumerate(ids, 1):
        if found and not _SOURCE_ID.fullmatch(found):
            raise ConfigError(f"deid.release {path}, line {number}: no source_id (32 hex digits, as EXAMS has them)")
    return frozenset(filter(None, ids))


def file_digest(file: TableFile) -> str:
    """Return a hash of a table's bytes; "" where none is configured. ConfigError where it cannot be read."""
    return keys.digest("table", _bytes(file)) if file.path else ""


def read_strings(file: TableFile, columns: Mapping[str, str], what: str) -> pa.Table:
    """Return the mapped columns as text, under our names.

    Args:
        file: where the table lies and how it is written.
        columns: our name -> the table's column.
        what: the setting, for messages.

    Raises:
        ConfigError: the file cannot be read, or lacks a mapped column.
    """
    data = pa.py_buffer(_bytes(file))
    path = str(file.path)
    try:
        if path.endswith(".parquet"):
            table = pq.read_table(pa.BufferReader(data))
        elif path.endswith((".jsonl", ".ndjson", ".json")):
            table = pajson.read_json(pa.BufferReader(data))
        else:
            table = _read_csv(data, file, columns)
    except (pa.ArrowException, UnicodeError, LookupError) as e:
        raise ConfigError(f"{what}.path {path} is no readable table ({type(e).__name__})") from None
    for ours, theirs in columns.items():
        if theirs not in table.column_names:
            raise ConfigError(f"{what}.path {path} has no column '{theirs}' (setting {what}.columns.{ours})")
    return pa.table({ours: table[theirs].cast(pa.string()) for ours, theirs in columns.items()})


def _read_csv(data: pa.Buffer, file: TableFile, columns: Mapping[str, str]) -> pa.Table:
    parse = pacsv.ParseOptions(delimiter=file.delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(columns.values(), pa.string()), strings_can_be_null=True, null_values=[""]
    )
    options = pacsv.ReadOptions(encoding=file.encoding, use_threads=False)
    return pacsv.read_csv(pa.BufferReader(data), options, parse, convert)


def _bytes(file: TableFile) -> bytes:
    try:
        return storage.read_bytes(str(file.path))
    except OSError as e:
        raise ConfigError(f"table {file.path} cannot be read ({type(e).__name__})") from None


def match_metadata(uris: list[str], config: MetadataConfig) -> pa.Table:
    """Return KNOWN, one row for each address in `uris`, null where the table has no row for it.

    A row belongs to a file when its `file` value is the end of the file's path (whole parts), or the
    file's name without extension.

    Raises:
        ConfigError: the table cannot be read, lacks a mapped column, or names a file twice.
    """
    if not config.path:
        return pa.Table.from_pylist([{}] * len(uris), KNOWN)
    columns = {k: v for k, v in config.columns.model_dump().items() if v is not None}
    table = read_strings(config, columns, "metadata")
    place: dict[str, int] = {}
    for i, name in enumerate(table["file"].to_pylist()):
        if name is None:
            continue
        key = name.strip().replace("\\", "/").removeprefix("./").strip("/")
        if key in place:
            raise ConfigError(f"metadata.path {config.path} names a file twice (rows {place[key] + 1} and {i + 1})")
        place[key] = i
    rows = [next((place[k] for k in _names(uri) if k in place), None) for uri in uris]
    found = table.take(pa.array(rows, pa.int64()))
    readers: dict[str, Callable[[str], Any]] = {
        "laterality": lambda v: config.values.laterality.get(v.casefold()),
        "view": lambda v: config.values.view.get(v.casefold()),
        "sex": lambda v: config.values.sex.get(v.casefold()),
        "age_years": _age,
        "study_date": _date,
    }
    return pa.Table.from_arrays([_column(found, f, readers.get(f.name)) for f in KNOWN], schema=KNOWN)


def _column(table: pa.Table, field: pa.Field, read: Callable[[str], Any] | None) -> pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    values = [v.strip() if v is not None else None for v in table[field.name].to_pylist()]
    return pa.array([(read(v) if read else v) if v else None for v in values], field.type)


def _names(uri: str) -> list[str]:
    """Return what a table may call a file: ends of its path, longest first, then its stem."""
    parts = uri.removeprefix("s3://").strip("/").split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))] + [parts[-1].rpartition(".")[0] or parts[-1]]


def _age(value: str) -> float | None:
    try:
        age = float(value)
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(value[:10])
    except ValueError:
        return None


def read_reports(config: ReportsConfig) -> pa.Table:
    """Return TEXTS sorted by accession; a study's rows are joined in the table's order, blank ones left out.

    Raises:
        ConfigError: the table cannot be read, or lacks a mapped column.
    """
    if not config.path:
        return TEXTS.empty_table()
    table = read_strings(config, config.columns.model_dump(), "reports")
    texts: dict[str, list[str]] = {}
    for accession, text in zip(table["accession"].to_pylist(), table["text"].to_pylist(), strict=True):
        if accession and text and text.strip():
            texts.setdefault(accession.strip(), []).append(text)
    rows = [{"accession": a, "text": "\n\n".join(dict.fromkeys(texts[a]))} for a in sorted(texts)]
    return pa.Table.from_pylist(rows, TEXTS)
