"""The tables beside the images: what they say of each file and of each study, their identifiers hashed.

Rows pass through memory a batch at a time and are put into spills; an identifier of the archive is
hashed with the secret before its row is put anywhere.
"""

import datetime
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from wristmir_ray import keys
from wristmir_ray.ingest.config import MetadataConfig, ReportsConfig
from wristmir_ray.ingest.names import normal, places
from wristmir_ray.ingest.tablefile import read_strings
from wristmir_ray.spill import Spill

KNOWN = pa.schema(
    [
        ("patient_id", pa.string()),
        ("study_id", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("age_years", pa.float32()),
        ("sex", pa.string()),
        ("study_date", pa.date32()),
    ]
)
"""What the metadata table says of one image."""

METADATA = pa.schema([("place", pa.string()), ("name", pa.string()), ("row", pa.int64()), *KNOWN])
"""A row of the table, at each place (`names.places`) where a file that it may belong to is looked for."""

TEXTS = pa.schema([("study_id", pa.string()), ("row", pa.int64()), ("text", pa.string())])
"""A row of the reports table."""


def spill_metadata(config: MetadataConfig, key: bytes, rows: Spill) -> int:
    """Put the metadata table into a spill of METADATA; return how many rows it has.

    Raises:
        ConfigError: the table cannot be read, or lacks a mapped column.
    """
    if not config.path:
        return 0
    columns = {k: v for k, v in config.columns.model_dump().items() if v is not None}
    seen = 0
    for table in read_strings(config, columns, "metadata"):
        known = _known(table, config, key)
        names = [normal(name) for name in table["file"].to_pylist()]
        at = [(place, i) for i, name in enumerate(names) if name for place in places(name)]
        found = known.take(pa.array([i for _, i in at], pa.int64()))
        lead = [[p for p, _ in at], [names[i] for _, i in at], [seen + i for _, i in at]]
        rows.put(pa.table([*lead, *found.columns], schema=METADATA))
        seen += table.num_rows
    return seen


def _known(table: pa.Table, config: MetadataConfig, key: bytes) -> pa.Table:
    values = config.values
    readers: dict[str, tuple[str, Callable[[str], Any]]] = {
        "patient_id": ("patient_id", lambda v: keys.keyed(key, "patient", v)),
        "study_id": ("accession", lambda v: keys.keyed(key, "study", v)),
        "laterality": ("laterality", lambda v: values.laterality.get(v.casefold())),
        "view": ("view", lambda v: values.view.get(v.casefold())),
        "sex": ("sex", lambda v: values.sex.get(v.casefold())),
        "age_years": ("age_years", _age),
        "study_date": ("study_date", _date),
    }
    return pa.Table.from_arrays([_column(table, f, *readers[f.name]) for f in KNOWN], schema=KNOWN)


def _column(table: pa.Table, field: pa.Field, name: str, read: Callable[[str], Any]) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    values = (v.strip() if v is not None else None for v in table[name].to_pylist())
    return pa.array([read(v) if v else None for v in values], field.type)


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


def check_reports(config: ReportsConfig) -> None:
    """Raise ConfigError where the reports table cannot be read, or lacks a mapped column."""
    if config.path:
        next(read_strings(config, config.columns.model_dump(), "reports"), None)


def spill_reports(config: ReportsConfig, key: bytes, rows: Spill) -> int:
    """Put the reports table into a spill of TEXTS, but for rows without study or text; return how many rows it has.

    Raises:
        ConfigError: the table cannot be read, or lacks a mapped column.
    """
    if not config.path:
        return 0
    seen = 0
    for table in read_strings(config, config.columns.model_dump(), "reports"):
        pairs = zip(table["accession"].to_pylist(), table["text"].to_pylist(), strict=True)
        rows.put(
            pa.Table.from_pylist(
                [
                    {"study_id": keys.keyed(key, "study", accession.strip()), "row": seen + i, "text": text}
                    for i, (accession, text) in enumerate(pairs)
                    if accession and accession.strip() and text and text.strip()
                ],
                TEXTS,
            )
        )
        seen += table.num_rows
    return seen


def whole_reports(rows: pa.Table) -> dict[str, str]:
    """Return each study's report: its rows joined in the table's order, a repeated one once.

    Args:
        rows: TEXTS sorted by study and row.
    """
    texts: dict[str, dict[str, None]] = {}
    for study, text in zip(rows["study_id"].to_pylist(), rows["text"].to_pylist(), strict=True):
        texts.setdefault(study, {})[text] = None
    return {study: "\n\n".join(parts) for study, parts in texts.items()}
