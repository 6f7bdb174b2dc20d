"""A grown archive: the rows of an earlier run that still hold become fragments of the new run.

Runs are of one *kind* when they differ in their input tables alone: same job, settings, models, code.
What is taken over lies among the new run's fragments, as if an interrupted try of it had computed it;
so the job goes on with what is new, and the published table is whole.
"""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from wristmir_ray import storage
from wristmir_ray.errors import ErrorCode, NotPublished
from wristmir_ray.spill import dataset
from wristmir_ray.tables import Table

log = logging.getLogger(__name__)

TRIED_AGAIN = (ErrorCode.SOURCE_UNREADABLE, ErrorCode.SOURCE_CHANGED, ErrorCode.NO_ANSWER, ErrorCode.STAGE_FAILED)
"""Rejects that another try may mend."""

_ALL_TAKEN = "taken.json"

StillGood = Callable[[storage.Manifest], Iterable[pa.Table]]
"""An earlier run -> its rows that hold for the new inputs too, as rows of the job's fragments, part by part."""


def take_over(
    root: str, name: str, kind: str, run_id: str, folder: str, fragment: Table, still_good: StillGood
) -> dict[str, Any]:
    """Write the rows that still hold as fragments; return the summary's facts: how many, and from which run.

    A second call after an interrupted first one writes the same files again; after a finished one, nothing.

    Args:
        root: folder or s3:// prefix.
        name: the published table whose runs are looked through.
        kind, run_id: of the new run.
        folder: its fragments.
        fragment: their schema.
        still_good: gives an earlier run's rows.
    """
    marker = storage.join(folder, _ALL_TAKEN)
    if storage.exists(marker):
        return dict(json.loads(storage.read_bytes(marker)))
    earlier = find_earlier(root, name, kind, run_id)
    if earlier is None:
        return {}
    taken = 0
    for i, rows in enumerate(still_good(earlier)):
        if rows.num_rows:
            part = storage.join(folder, f"taken-{earlier.run_id}-{i:06d}.parquet")
            storage.write_parquet(rows, part, fragment.row_group_size)
            taken += rows.num_rows
    facts = {"taken_over": taken, "taken_from": earlier.run_id}
    storage.write_bytes(marker, json.dumps(facts).encode())
    log.info("taken over", extra={"fields": {"table": name, **facts}})
    return facts


def find_earlier(root: str, name: str, kind: str, run_id: str) -> storage.Manifest | None:
    """Return the latest finished run of this kind other than `run_id`: the published one before all others."""
    return latest_run(root, name, lambda m: m.kind == kind and m.run_id != run_id)


def latest_run(root: str, name: str, wanted: Callable[[storage.Manifest], bool]) -> storage.Manifest | None:
    """Return the latest finished run that is wanted, the published one before all others; None where there is none."""
    fs, path = storage.filesystem(storage.join(root, name, "runs"))
    folders = fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    runs = (storage.find_run(root, name, f.base_name) for f in folders if not f.is_file)
    alike = [m for m in runs if m and wanted(m)]
    if not alike:
        return None
    try:
        current = storage.published(root, name).run_id
    except NotPublished:  # a job that died before it moved the pointer
        current = ""
    return max(alike, key=lambda m: (m.run_id == current, m.created, m.run_id))


def same_keys(root: str, table: Table, source: Table) -> StillGood:
    """Return what is still good of a table whose rows hang on their key alone, as a report's findings on its text.

    Args:
        root: folder or s3:// prefix.
        table: published, and the schema of the fragments.
        source: the job's input, which has the same key.
    """

    def rows(earlier: storage.Manifest) -> Iterable[pa.Table]:
        key = table.key[0]
        wanted = storage.read_table(root, source, columns=[key], good_only=False)[key].combine_chunks()
        files = storage.table_files(root, earlier)
        if not files or earlier.schema != table.fingerprint:
            return
        for batch in dataset(files, table.schema).to_batches(filter=settled()):
            yield pa.Table.from_batches([batch]).filter(pc.is_in(batch[key], value_set=wanted))

    return rows


def settled() -> pc.Expression:
    """Return the filter of rows that another try would not mend."""
    error = pads.field("error")
    return error.is_null() | ~error.isin([code.value for code in TRIED_AGAIN])
