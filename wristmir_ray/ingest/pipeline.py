"""Ingest's wiring: list, match, read what is new (Ray Data), then merge and publish.

Two runs: SOURCES holds what was read, and depends on no table; EXAMS and REPORTS merge it with the
metadata and the reports. A grown archive is read where it has grown, a changed table reads nothing.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import ray.data

from wristmir_ray import dicomweb, keys, raydata, storage, tablerun
from wristmir_ray.errors import ErrorCode
from wristmir_ray.imaging.decode import decode
from wristmir_ray.ingest import exams, listing, qido, release, sidecar, stages, takeover
from wristmir_ray.ingest.advice import advice
from wristmir_ray.ingest.config import IngestConfig
from wristmir_ray.ingest.objects import Objects, find_objects
from wristmir_ray.ingest.tablefile import file_digest
from wristmir_ray.job import Summary
from wristmir_ray.outputs import Output
from wristmir_ray.schemas import SOURCES
from wristmir_ray.spill import Spill


def run(config: IngestConfig, decode: stages.Decode = decode) -> Summary:
    """Turn an archive into SOURCES, EXAMS and REPORTS: every object ends as exactly one row of EXAMS.

    Args:
        config: settings.
        decode: bytes to a radiograph (tests count its calls).

    Raises:
        ConfigError: no hash key, no archive, a table that cannot be read or lacks a mapped column.
    """
    key = keys.hash_key()
    sidecar.check_reports(config.reports)
    found = (
        qido.list_instances(config.images, config.dicomweb, key)
        if dicomweb.is_dicomweb(config.images)
        else listing.list_images(config.images)
    )
    return ingest(config, key, decode, found)


def ingest(config: IngestConfig, key: bytes, decode: stages.Decode, found: Iterable[listing.Found]) -> Summary:
    """Read what is new of these objects, merge, and publish; see `run`."""
    released = release.read_release(config.deid.release)
    with _scratch(config) as folder:
        digests = {
            "metadata": file_digest(config.metadata),
            "reports": file_digest(config.reports),
            "released": release.digest(released),
        }
        objects = _objects(config, key, folder, found)
        plan = takeover.plan(config, key, objects, folder)
        sources, taken_over = read_sources(config, key, plan, decode)
        work = _exams_run(config, key, {"objects": objects.digest, **digests}, sources)
        done = tablerun.already_published(work, exams.NAMES) or exams.publish_exams(
            config, work, key, objects, sources.runs[SOURCES.name], released, folder
        )
    read = sources.rows - taken_over
    return replace(
        done,
        runs={**sources.runs, **done.runs},
        skipped=done.skipped and sources.skipped,
        resumed_rows=sources.resumed_rows,
        facts={"objects": objects.rows.num_rows, "taken_over": taken_over, "read": read, **done.facts},
        advice=advice(config, done.facts),
    )


@contextmanager
def _scratch(config: IngestConfig) -> Iterator[str]:
    """Give a folder for what does not fit in memory; it and what a killed try left in it are deleted."""
    folder = storage.join(config.root, "_work", "ingest", keys.digest("scratch", config.images))
    try:
        yield folder
    finally:
        storage.delete_tree(folder)


def _objects(config: IngestConfig, key: bytes, folder: str, found: Iterable[listing.Found]) -> Objects:
    """Match the archive's objects with the metadata table."""
    metadata = Spill(f"{folder}/metadata", sidecar.METADATA, "place", "row")
    rows = sidecar.spill_metadata(config.metadata, key, metadata)
    max_bytes = config.max_file_mib * 2**20
    return find_objects(listing.tables(found), metadata, rows, max_bytes, str(config.metadata.path), folder)


def read_sources(config: IngestConfig, key: bytes, plan: takeover.Plan, decode: stages.Decode) -> tuple[Summary, int]:
    """Read what is new, publish SOURCES; return its summary, and how many rows were taken over."""
    if plan.run is None:
        return plan.summary(), plan.taken_over
    summary = tablerun.run_tables(
        plan.run,
        source=(lambda: _dataset(plan.new, config)) if plan.new.num_rows else None,
        build=lambda objects: build(objects, config, key, decode),
        fragment=SOURCES,
        outputs=[Output(SOURCES)],
        names=[SOURCES.name],
        carried=plan.carried,
    )
    return summary, summary.rows if summary.skipped else plan.taken_over


def _dataset(new: Spill, config: IngestConfig) -> ray.data.Dataset:
    files = new.files()
    if not files:
        in_place = new.read().sort_by("source_uri")  # as they lie: disks like neighbours
        return ray.data.from_arrow(raydata.blocks(in_place, config.fragment_rows))
    fs, _ = storage.filesystem(files[0])
    rows = ray.data.read_parquet([storage.filesystem(f)[1] for f in files], filesystem=fs)
    return rows.repartition(target_num_rows_per_block=config.fragment_rows)


def build(
    objects: ray.data.Dataset, config: IngestConfig, key: bytes, decode: stages.Decode = decode
) -> ray.data.Dataset:
    """Return rows of SOURCES for rows of LISTING: one for one."""
    pool = raydata.tasks(config.pool)
    fetched: dict[str, Any] = {"max_bytes": config.max_file_mib * 2**20}
    bounded: dict[str, Any] = {}
    if dicomweb.is_dicomweb(config.images):  # every worker together, no more than the server is to bear
        limit = config.dicomweb.max_connections
        fetched |= {"access": qido.access(config.dicomweb), "readers": min(limit, stages.READERS)}
        bounded = {"compute": ray.data.TaskPoolStrategy(size=max(1, limit // stages.READERS))}
    decoding = {"config": config.decode, "gate": config.deid, "key": key, "decode": decode}
    return objects.map_batches(stages.fetch, fn_kwargs=fetched, **pool, **bounded).map_batches(
        stages.decode_images, fn_kwargs=decoding, **pool
    )


def _exams_run(config: IngestConfig, key: bytes, digests: dict[str, str], sources: Summary) -> tablerun.TableRun:
    """Return what EXAMS and REPORTS depend on: what was read by its content, whichever runs it came from."""
    names = {"decode", "deid", "split", "assume_view", "max_file_mib", "metadata", "reports"}
    paths: Any = {"metadata": {"path"}, "reports": {"path"}, "deid": {"release"}}
    return tablerun.TableRun(
        job="ingest",
        config=config,
        settings=config.model_dump(mode="json", include=names, exclude=paths),
        code=keys.code_version("ingest", "imaging", "keys"),
        inputs={
            **digests,
            "hash_key": keys.keyed(key, "fingerprint", "")[:16],
            "unreadable": _unreadable(config.root, sources),
        },
        lineage=sources.runs,
    )


def _unreadable(root: str, sources: Summary) -> str:
    """Return a hash over the objects that could not be read: a later run may have read them."""
    if ErrorCode.SOURCE_UNREADABLE not in sources.rejects:
        return ""
    where = pc.field("error") == ErrorCode.SOURCE_UNREADABLE.value
    lost = storage.read_table(root, SOURCES, sources.runs[SOURCES.name], ["source_id"], good_only=False, where=where)
    return keys.digest(*lost["source_id"].to_pylist())
