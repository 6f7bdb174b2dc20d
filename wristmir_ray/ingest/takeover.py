"""What an earlier run has read already: an unchanged object is never read again.

A run of SOURCES depends on the objects, on how they are decoded and what the de-identification gate
asks, on the secret and on the code, and on no table. The next run of the same kind takes its rows over,
what is held included, but for those of objects that are gone, and those that could not be read, which
are tried again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, storage, tablerun
from wristmir_ray.errors import ErrorCode
from wristmir_ray.ingest.config import IngestConfig
from wristmir_ray.ingest.listing import LISTING
from wristmir_ray.ingest.objects import Objects
from wristmir_ray.job import Summary
from wristmir_ray.schemas import SOURCES
from wristmir_ray.spill import KeyRange, Spill, key_ranges, within
from wristmir_ray.takeover import latest_run

JOB = "ingest_sources"
READ_BY = ("imaging", "ingest/stages", "keys")
"""The code that a row of SOURCES depends on."""


@dataclass(frozen=True)
class Plan:
    """How SOURCES comes to be: by a run over the new objects, or as it stands."""

    run: tablerun.TableRun | None
    """None where the earlier run answers as it stands."""
    earlier: storage.Manifest | None
    new: Spill
    """LISTING of the objects to read."""
    carried: list[str]
    """Files of the rows that are taken over."""
    taken_over: int

    def summary(self) -> Summary:
        """Return the summary of the earlier run, as it stands."""
        assert self.earlier is not None
        m = self.earlier
        return Summary(m.job, {m.name: m.run_id}, m.rows, m.rejects, skipped=True)


def plan(config: IngestConfig, key: bytes, objects: Objects, folder: str) -> Plan:
    """Return which objects are read, and which rows are taken over.

    Args:
        config: settings.
        key: the secret.
        objects: of the archive as it is now.
        folder: where files are written while the job runs.
    """
    code = keys.code_version(*READ_BY, declarations=False)
    secret = keys.keyed(key, "fingerprint", "")[:16]
    earlier = _earlier(config, code, secret)
    new = Spill(f"{folder}/new", LISTING, "source_id")
    tried_again = _tried_again(config, earlier) if earlier else []
    if earlier and earlier.inputs["objects"] == objects.digest and not set(tried_again) & set(earlier.rejects):
        storage.point_to(config.root, SOURCES.name, earlier.run_id)
        return Plan(None, earlier, new, [], earlier.rows)
    inputs = {"objects": objects.digest, "hash_key": secret, "taken_from": earlier.run_id if earlier else ""}
    run = tablerun.TableRun(JOB, config, _reading(config.model_dump(mode="json")), code, inputs)
    if storage.find_run(config.root, SOURCES.name, run.run_id):
        return Plan(run, earlier, new, [], 0)
    carried, taken_over = [], 0
    for i, part in enumerate(key_ranges(objects.rows.num_rows)):
        listed = objects.rows.read(part)
        kept = _kept(config, earlier, part, listed, tried_again)
        is_new = pc.and_(pc.is_null(listed["unread"]), pc.invert(_among(listed, kept)))
        new.put(listed.filter(is_new).select(LISTING.names))
        if kept.num_rows:
            carried.append(storage.join(folder, "taken", f"{i:06d}.parquet"))
            storage.write_parquet(kept, carried[-1], SOURCES.row_group_size)
            taken_over += kept.num_rows
    return Plan(run, earlier, new, carried, taken_over)


def _reading(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a row of SOURCES depends on: what a person released changes none."""
    return {"decode": config["decode"], "deid": {k: v for k, v in config["deid"].items() if k != "release"}}


def _earlier(config: IngestConfig, code: str, secret: str) -> storage.Manifest | None:
    """Return the latest run that read as this one would, the published one before all others."""

    def alike(m: storage.Manifest) -> bool:
        same = (m.code, m.schema, m.inputs["hash_key"]) == (code, SOURCES.fingerprint, secret)
        return same and _reading(m.config) == _reading(config.model_dump(mode="json"))

    return latest_run(config.root, SOURCES.name, alike)


def _tried_again(config: IngestConfig, earlier: storage.Manifest) -> list[str]:
    """Return the codes for which an object is read again: what failed may pass, another limit admits others."""
    same_limit = earlier.config["max_file_mib"] == config.max_file_mib
    return [ErrorCode.SOURCE_UNREADABLE.value, *([] if same_limit else [ErrorCode.IMAGE_TOO_LARGE.value])]


def _kept(
    config: IngestConfig, earlier: storage.Manifest | None, part: KeyRange, listed: pa.Table, tried_again: list[str]
) -> pa.Table:
    """Return the earlier run's rows of one range that still hold."""
    if earlier is None:
        return SOURCES.schema.empty_table()
    where = within("source_id", part)
    rows = storage.read_table(config.root, SOURCES, earlier.run_id, good_only=False, where=where)
    again = pc.is_in(rows["error"], value_set=pa.array(tried_again, pa.string()))
    return rows.filter(pc.and_(_among(rows, listed), pc.invert(again)))


def _among(rows: pa.Table, others: pa.Table) -> pa.ChunkedArray:
    return pc.is_in(rows["source_id"], value_set=others["source_id"])
