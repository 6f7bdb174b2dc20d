"""Runs of the jobs that write tables: they survive a kill, and publish whole tables or nothing.

A job's rows go through `run_tables`. While it runs, every batch of finished rows becomes one
*fragment*, a Parquet file written whole or not at all and named by the keys it holds, so that a
retried task overwrites itself. A killed job has lost the unfinished batches only: the same run id
finds the fragments again and leaves their keys out (an anti-join at the source). At the end the
fragments are exploded into the job's tables, sorted by key, freed of doubles, and published.

Why not Ray Data's own checkpoints (`ray.data.checkpoint`): they cost an actor pool and ten seconds
a start, and a row that is written twice stays doubled; a fragment named by its keys cannot be.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import ray
import ray.data

from wristmir_ray import keys, raydata, storage
from wristmir_ray.config import JobConfig
from wristmir_ray.failures import on_purpose
from wristmir_ray.fragments import Writer, done_keys, write_fragment
from wristmir_ray.job import Summary
from wristmir_ray.outputs import Output, write_outputs
from wristmir_ray.shards import totals
from wristmir_ray.spill import dataset
from wristmir_ray.tables import Table
from wristmir_ray.takeover import StillGood, take_over

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TableRun:
    """What one run of a table-writing job is: its identity and its lineage."""

    job: str
    config: JobConfig
    settings: Mapping[str, Any]
    """The part of the configuration that changes rows; goes into the run id."""
    code: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    """Input runs that stand in the manifest alone: what they hold enters the run id by its content."""

    @property
    def run_id(self) -> str:
        return keys.run_id(self.job, self.settings, {**self.inputs, **self.models}, self.code)

    @property
    def kind(self) -> str:
        """What runs share that differ in their input tables alone."""
        return keys.run_id(self.job, self.settings, dict(self.models), self.code)

    @property
    def fragments(self) -> str:
        return storage.join(self.config.root, "_work", self.job, self.run_id)

    def writer(self, fragment: Table) -> Writer:
        """Return what stores finished rows as a fragment."""
        return partial(write_fragment, folder=self.fragments, table=fragment)

    def manifest(self, name: str, **more: Any) -> storage.Manifest:
        """Return this run's manifest for one published name."""
        return storage.Manifest(
            name=name,
            run_id=self.run_id,
            job=self.job,
            code=self.code,
            kind=self.kind,
            inputs={**self.inputs, **self.lineage},
            models=dict(self.models),
            config=self.config.resolved(),
            **more,
        )

    def table_manifest(self, table: Table, receipts: Iterable[Mapping[str, Any]]) -> storage.Manifest:
        """Return this run's manifest for a table whose shards gave these receipts."""
        return self.manifest(table.name, schema=table.fingerprint, **totals(receipts))


def run_tables(
    run: TableRun,
    source: Callable[[], ray.data.Dataset] | None,
    build: Callable[[ray.data.Dataset], ray.data.Dataset],
    fragment: Table,
    outputs: Sequence[Output],
    names: Sequence[str],
    facts: Callable[[pads.Dataset | None], dict[str, Any]] | None = None,
    carried: Sequence[str] = (),
    still_good: StillGood | None = None,
    writes: bool = False,
) -> Summary:
    """Run a pipeline over what is not yet done, and publish its tables.

    Args:
        run: identity and lineage.
        source: makes the Dataset of input rows; it holds `fragment.key[0]`. None where there is none:
            what is carried is published, and no Ray is started for it.
        build: input rows -> rows of `fragment`, one row out for each row in.
        fragment: schema of the rows that `build` gives.
        outputs: the tables to publish.
        names: names of the published tables, first the one whose rejects are counted.
        facts: further figures for the summary and the manifest's metrics, from all fragments.
        carried: Parquet files of finished rows of `fragment` that are published beside the new ones.
        still_good: gives the rows of an earlier run that hold for the new inputs; without it all is done anew.
        writes: `build` ends in `run.writer(fragment)` itself, and gives its receipts: where a stage can write what it
            has made, no row crosses a process.

    Returns:
        Summary; `skipped` when this very run was already published.

    Raises:
        ConfigError: `root` cannot be written.
    """
    started = time.monotonic()
    before = already_published(run, names)
    if before:
        return before
    storage.check_writable(run.config.root)
    taken: dict[str, Any] = {}
    if still_good is not None:
        place = (run.config.root, names[0], run.kind, run.run_id, run.fragments)
        taken = take_over(*place, fragment, still_good)
    done, new_rows = done_keys(run.fragments, fragment), 0
    if source is not None:
        raydata.connect(run.config.ray)
        ends = build if writes else partial(_build_and_write, build, run, fragment)
        new_rows = _drain(ends(_not_done(source(), run, fragment, done)))
    files = [*storage.list_files(run.fragments, ".parquet"), *carried]
    metrics = {**taken, **(facts(dataset(files, fragment.schema) if files else None) if facts else {})}
    manifests = _write_outputs(run, fragment, outputs, files)
    summary = publish(run, names, manifests, metrics, started, resumed=len(done) - taken.get("taken_over", 0))
    storage.delete_tree(run.fragments)
    pa.default_memory_pool().release_unused()  # else the driver keeps what it sorted through the next run
    log.info("published", extra={"fields": {"job": run.job, "rows_new": new_rows, "rows_resumed": len(done)}})
    return summary


def already_published(run: TableRun, names: Sequence[str]) -> Summary | None:
    """Return the summary of a run that was finished before, made current again; None where it was not."""
    root = run.config.root
    finished = [m for m in (storage.find_run(root, name, run.run_id) for name in names) if m]
    if len(finished) < len(names):
        return None
    for name in names:
        storage.point_to(root, name, run.run_id)
    return _summary(run, finished, skipped=True)


def publish(
    run: TableRun,
    names: Sequence[str],
    manifests: Sequence[storage.Manifest],
    metrics: dict[str, Any],
    started: float,
    resumed: int = 0,
) -> Summary:
    """Make the tables of a run exist; `names` is the order of the summary, `started` a monotonic time."""
    seconds = time.monotonic() - started
    done = [storage.publish(run.config.root, replace(m, metrics=metrics, seconds=seconds)) for m in manifests]
    return _summary(run, sorted(done, key=lambda m: list(names).index(m.name)), resumed=resumed)


def _not_done(rows: ray.data.Dataset, run: TableRun, fragment: Table, done: pa.Array) -> ray.data.Dataset:
    """Leave out the rows whose fragments an interrupted try has written."""
    if not len(done):
        return rows
    log.info("resuming", extra={"fields": {"job": run.job, "rows_done": len(done)}})
    return rows.map_batches(
        _without, fn_kwargs={"key": fragment.key[0], "done": ray.put(done)}, batch_format="pyarrow", batch_size=None
    )


def _build_and_write(
    build: Callable[[ray.data.Dataset], ray.data.Dataset], run: TableRun, fragment: Table, rows: ray.data.Dataset
) -> ray.data.Dataset:
    """Return the receipts of what `build` makes of the rows; tasks of their own write it."""
    return build(rows).map_batches(run.writer(fragment), batch_format="pyarrow", batch_size=run.config.fragment_rows)


def _drain(receipts: ray.data.Dataset) -> int:
    """Run the pipeline; return how many rows it wrote."""
    try:
        return sum(int(r["num_rows"]) for r in receipts.iter_rows())
    except Exception as e:
        ours = on_purpose(e)
        if ours is None:
            raise
    del receipts
    gc.collect()  # these and Ray's frames, which refer to themselves, hold the run's workers
    raise ours


def _summary(run: TableRun, manifests: Sequence[storage.Manifest], skipped: bool = False, resumed: int = 0) -> Summary:
    first = manifests[0]
    return Summary(
        job=run.job,
        runs={m.name: m.run_id for m in manifests},
        rows=first.rows,
        rejects=first.rejects,
        skipped=skipped,
        resumed_rows=resumed,
        max_reject_share=run.config.max_reject_share,
        facts=first.metrics,
    )


def _without(batch: pa.Table, key: str, done: Any) -> pa.Table:
    seen = ray.get(done) if isinstance(done, ray.ObjectRef) else done
    return batch.filter(pc.invert(pc.is_in(batch[key], value_set=seen)))


def _write_outputs(
    run: TableRun, fragment: Table, outputs: Sequence[Output], files: Sequence[str]
) -> list[storage.Manifest]:
    """Write the sorted files of all tables; return what their manifests say of them."""
    # a try that died between two tables has published one, and readers may have it open
    written = {o.table.name: storage.find_run(run.config.root, o.table.name, run.run_id) for o in outputs}
    places = {
        storage.run_uri(run.config.root, o.table.name, run.run_id): o for o in outputs if not written[o.table.name]
    }
    for folder in places:
        storage.delete_tree(folder)  # an unpublished leftover of an earlier try
    if places:
        receipts = write_outputs(files, fragment, places, partial(raydata.connect, run.config.ray))
        for output, of_table in zip(places.values(), receipts, strict=True):
            written[output.table.name] = run.table_manifest(output.table, of_table)
    return [m for m in written.values() if m]
