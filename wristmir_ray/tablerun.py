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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import ray
import ray.data

from wristmir_ray import keys, raydata, storage
from wristmir_ray.config import JobConfig
from wristmir_ray.errors import WristmirError
from wristmir_ray.job import Summary
from wristmir_ray.schemas import Table, conform

log = logging.getLogger(__name__)

DRIVER_SORT_BYTES = 512 * 2**20
"""Fragments up to this size in memory are sorted on the driver (seconds cheaper); larger ones by Ray Data."""

EXPLODE_ROWS = 4096
"""Rows exploded at a time: an `explode` that goes through Python objects needs some ten times their size."""


@dataclass(frozen=True)
class Output:
    """A table a job publishes, and how it comes out of the job's fragments (row-wise, Arrow)."""

    table: Table
    explode: Callable[[pa.Table], pa.Table] | None = None


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

    @property
    def run_id(self) -> str:
        return keys.run_id(self.job, self.settings, {**self.inputs, **self.models}, self.code)

    @property
    def fragments(self) -> str:
        return storage.join(self.config.root, "_work", self.job, self.run_id)

    def manifest(self, name: str, **more: Any) -> storage.Manifest:
        """Return this run's manifest for one published name."""
        return storage.Manifest(
            name=name,
            run_id=self.run_id,
            job=self.job,
            code=self.code,
            inputs=dict(self.inputs),
            models=dict(self.models),
            config=self.config.resolved(),
            **more,
        )


def run_tables(
    run: TableRun,
    source: Callable[[], ray.data.Dataset],
    build: Callable[[ray.data.Dataset], ray.data.Dataset],
    fragment: Table,
    outputs: Sequence[Output] | Callable[[pads.Dataset | None], Sequence[Output]],
    names: Sequence[str],
    facts: Callable[[pads.Dataset | None], dict[str, Any]] | None = None,
) -> Summary:
    """Run a pipeline over what is not yet done, and publish its tables.

    Args:
        run: identity and lineage.
        source: makes the Dataset of input rows; it holds `fragment.key[0]`.
        build: input rows -> rows of `fragment`, one row out for each row in.
        fragment: schema of the rows that `build` gives.
        outputs: the tables to publish, or a function of all fragments that gives them (for what
            only the whole run can know, such as doubles).
        names: names of the published tables, first the one whose rejects are counted.
        facts: further figures for the summary and the manifest's metrics, from all fragments.

    Returns:
        Summary; `skipped` when this very run was already published.

    Raises:
        ConfigError: `root` cannot be written.
    """
    started = time.monotonic()
    root = run.config.root
    finished = [storage.find_run(root, name, run.run_id) for name in names]
    if all(finished):
        for name in names:
            storage.point_to(root, name, run.run_id)
        return _summary(run, [m for m in finished if m], skipped=True)
    storage.check_writable(root)
    raydata.connect(run.config.ray)
    done = _done_keys(run.fragments, fragment)
    new_rows = _write_fragments(run, build(_not_done(source(), run, fragment, done)), fragment)
    whole = _fragments(run.fragments, fragment)
    wanted = outputs(whole) if callable(outputs) else outputs
    metrics = facts(whole) if facts else {}
    written = _write_outputs(run, fragment, wanted)
    seconds = time.monotonic() - started
    manifests = [storage.publish(root, replace(m, metrics=metrics, seconds=seconds)) for m in written]
    storage.delete_tree(run.fragments)
    del whole
    pa.default_memory_pool().release_unused()  # else the driver keeps what it sorted through the next run
    log.info("published", extra={"fields": {"job": run.job, "rows_new": new_rows, "rows_resumed": len(done)}})
    ordered = sorted(manifests, key=lambda m: list(names).index(m.name))
    return _summary(run, ordered, resumed=len(done))


def _not_done(dataset: ray.data.Dataset, run: TableRun, fragment: Table, done: pa.Array) -> ray.data.Dataset:
    """Leave out the rows whose fragments an interrupted try has written."""
    if not len(done):
        return dataset
    log.info("resuming", extra={"fields": {"job": run.job, "rows_done": len(done)}})
    return dataset.map_batches(
        _without, fn_kwargs={"key": fragment.key[0], "done": ray.put(done)}, batch_format="pyarrow", batch_size=None
    )


def _write_fragments(run: TableRun, rows: ray.data.Dataset, fragment: Table) -> int:
    """Run the pipeline; return how many rows it wrote."""
    receipts = rows.map_batches(
        _write_fragment,
        fn_kwargs={"folder": run.fragments, "table": fragment},
        batch_format="pyarrow",
        batch_size=run.config.fragment_rows,
    )
    try:
        return sum(int(r["num_rows"]) for r in receipts.iter_rows())
    except Exception as e:
        ours = _on_purpose(e)
        if ours is None:
            raise
    del receipts, rows
    gc.collect()  # these and Ray's frames, which refer to themselves, hold the run's workers
    raise ours


def _on_purpose(error: BaseException) -> WristmirError | None:
    """Return the error of this package that a worker raised and Ray has wrapped, or None; without Ray's own advice."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, WristmirError) and not isinstance(found, ray.exceptions.RayError):
            return type(found)(str(found).partition("\n")[0])
        found = getattr(found, "cause", None) or found.__cause__
    return None


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


def _fragments(folder: str, table: Table) -> pads.Dataset | None:
    files = storage.list_files(folder, ".parquet")
    return _dataset(files, table) if files else None


def _dataset(files: Sequence[str], table: Table) -> pads.Dataset:
    fs, _ = storage.filesystem(files[0])
    return pads.dataset([storage.filesystem(f)[1] for f in files], schema=table.schema, filesystem=fs, format="parquet")


def _done_keys(folder: str, table: Table) -> pa.Array:
    whole = _fragments(folder, table)
    if whole is None:
        return pa.array([], pa.string())
    column = whole.to_table(columns=[table.key[0]]).column(0)
    return pc.unique(column)


def _without(batch: pa.Table, key: str, done: Any) -> pa.Table:
    seen = ray.get(done) if isinstance(done, ray.ObjectRef) else done
    return batch.filter(pc.invert(pc.is_in(batch[key], value_set=seen)))


def _write_fragment(batch: pa.Table, folder: str, table: Table) -> pa.Table:
    """Store one batch. Columns: table's -> num_rows. 1:1 into a file named by its keys."""
    if batch.num_rows:
        rows = conform({n: batch[n] for n in batch.column_names}, table)
        name = keys.digest(*sorted(rows[table.key[0]].to_pylist()))
        storage.write_parquet(rows, storage.join(folder, f"{name}.parquet"), table.row_group_size)
    return pa.table({"num_rows": pa.array([batch.num_rows], pa.int64())})


def _write_outputs(run: TableRun, fragment: Table, outputs: Sequence[Output]) -> list[storage.Manifest]:
    """Write the sorted files of all tables; return what their manifests say of them."""
    files = storage.list_files(run.fragments, ".parquet")
    small = _unpacked_bytes(files, fragment) <= DRIVER_SORT_BYTES
    whole = _fragments(run.fragments, fragment) if small else None
    rows = whole.to_table() if whole is not None else fragment.schema.empty_table()
    written = []
    for output in outputs:
        published = storage.find_run(run.config.root, output.table.name, run.run_id)
        if published:  # a try that died between two tables; readers may have it open
            written.append(published)
            continue
        folder = storage.run_uri(run.config.root, output.table.name, run.run_id)
        storage.delete_tree(folder)  # an unpublished leftover of an earlier try
        if small:
            receipts = _write_shard(_explode(rows, output), output.table, folder).to_pylist()
        else:
            receipts = _sort_shards(files, fragment, output, folder)
        rejects: Counter[str] = Counter()
        for receipt in receipts:
            rejects.update(dict(zip(receipt["codes"], receipt["counts"], strict=True)))
        written.append(
            run.manifest(
                output.table.name,
                rows=sum(receipt["num_rows"] for receipt in receipts),
                rejects=dict(sorted(rejects.items())),
                schema=output.table.fingerprint,
                files=sorted(receipt["file"] for receipt in receipts if receipt["num_rows"]),
            )
        )
    return written


def _unpacked_bytes(files: Sequence[str], table: Table) -> int:
    """Return about how much memory these files take, judged by a few of them: text packs to a tenth and far less."""
    some = files[:: len(files) // 8 + 1]
    if not some:
        return 0
    return int(_dataset(some, table).to_table().nbytes * storage.total_bytes(files) / storage.total_bytes(some))


def _sort_shards(files: Sequence[str], fragment: Table, output: Output, folder: str) -> list[dict[str, Any]]:
    """Sort and write one table by Ray Data; return a receipt a key range."""
    fs, _ = storage.filesystem(folder)
    return list(
        ray.data.read_parquet([storage.filesystem(f)[1] for f in files], filesystem=fs)
        .map_batches(
            _explode_batch,
            fn_kwargs={"fragment": fragment, "output": output},
            batch_format="pyarrow",
            batch_size=None,
        )
        .sort(list(output.table.key))
        .map_batches(
            _write_shard,
            fn_kwargs={"table": output.table, "folder": folder},
            batch_format="pyarrow",
            batch_size=None,
        )
        .take_all()
    )


def _explode(batch: pa.Table, output: Output) -> pa.Table:
    if output.explode is None:
        return batch
    starts = range(0, max(1, batch.num_rows), EXPLODE_ROWS)
    return pa.concat_tables([output.explode(batch.slice(i, EXPLODE_ROWS)) for i in starts])


def _explode_batch(batch: pa.Table, fragment: Table, output: Output) -> pa.Table:
    return _explode(conform({n: batch[n] for n in batch.column_names}, fragment), output)


_RECEIPT = pa.schema(
    [
        ("file", pa.string()),
        ("num_rows", pa.int64()),
        ("codes", pa.list_(pa.string())),
        ("counts", pa.list_(pa.int64())),
    ]
)


def _write_shard(batch: pa.Table, table: Table, folder: str) -> pa.Table:
    """Sort one key range, drop doubles, store it under its first key. Gives one receipt."""
    rows = _drop_doubles(conform({n: batch[n] for n in batch.column_names}, table), table)
    if not rows.num_rows:
        return pa.Table.from_pylist([{"file": "", "num_rows": 0, "codes": [], "counts": []}], _RECEIPT)
    first = "-".join(str(rows[k][0].as_py()) for k in table.key[:2])
    name = f"{first}.parquet"
    storage.write_parquet(rows, storage.join(folder, name), table.row_group_size)
    codes = Counter(rows["error"].drop_null().to_pylist())
    receipt = {"file": name, "num_rows": rows.num_rows, "codes": list(codes), "counts": list(codes.values())}
    return pa.Table.from_pylist([receipt], _RECEIPT)


def _drop_doubles(rows: pa.Table, table: Table) -> pa.Table:
    rows = rows.take(pc.sort_indices(rows.select(list(table.key)), [(k, "ascending") for k in table.key]))
    if rows.num_rows < 2:
        return rows
    same = None
    for k in table.key:
        column = rows[k].combine_chunks()
        equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        same = equal if same is None else pc.and_(same, equal)
    same = pc.fill_null(same, False)
    return rows.filter(pa.concat_arrays([pa.array([True]), pc.invert(same)])) if pc.any(same).as_py() else rows
