"""The Ray edge: connect, place stages, read tables."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from functools import wraps
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

os.environ.setdefault("RAY_AUTH_MODE", "disabled" if "RAY_ADDRESS" not in os.environ else "token")

import ray  # the authentication mode is read at import
import ray.data
from ray.data._internal.execution.operators.actor_pool_map_operator import ActorPoolMapOperator

from wristmir_ray import storage
from wristmir_ray.config import PoolConfig, RayConfig
from wristmir_ray.errors import ConfigError
from wristmir_ray.tables import Table

DRIVER_READ_BYTES = 8 * 2**20
"""Tables of files up to this size are read on the driver: the workers of a read stage cost seconds to start. Text
unpacks to some ten times as much."""

DRIVER_BLOCK_ROWS = 1024
"""Rows a block of such a table, where the job says nothing."""

MAX_BLOCKS = 4096
"""Of a table that the driver holds: the scheduler keeps some state for each."""

_SECOND_TELLERS = ("ray.data.exceptions", "ray.data._internal.execution.streaming_executor_state")
"""Loggers of a stage's error, page by page, as a bug of Ray; it is raised on the driver all the same."""

_ADVISER = "ray.data._internal.progress"
"""Logger that says at every start how bars are turned on."""

_FEWER_BLOCKS_THAN_WORKERS = (
    "The minimum number of concurrent actors for .* but the operator only received",
    "The maximum number of concurrent tasks for .* but the operator only received",
)
"""Warnings of a small archive, or of the last blocks of a resumed one: nothing is wrong with either."""

_HANDED_OVER = {"_map_transformer_ref": "_map_transformer", "_data_context_ref": "data_context"}
"""What Ray Data's actors are made of: attribute of the operator that refers to it -> attribute that holds it."""

_WORKER_THREADS = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
_CONTEXT: dict[str, Any] = {
    "target_max_block_size": 64 * 2**20,
    "shuffle_input_batch_bytes": 32 * 2**20,  # 1 GiB by default: one task of a join took in a whole archive
    "enable_rich_progress_bars": False,
    "raise_original_map_exception": True,  # else the driver is told of a stage's error in words alone
}


def connect(config: RayConfig) -> None:
    """Connect to the cluster at `RAY_ADDRESS`, or start a local Ray; a no-op when connected.

    A local Ray gets at least four logical CPUs (a download stage and an actor stage deadlock on
    two), one thread a worker, and ordinary niceness.
    """
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        else:
            for name, value in _WORKER_THREADS.items():
                os.environ.setdefault(name, value)
            ray.init(
                address="local",  # else one that somebody has started on this machine would be joined
                num_cpus=config.num_cpus or max(4, os.cpu_count() or 1),
                object_store_memory=int(config.object_store_gib * 2**30),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=True,
                logging_level=logging.WARNING,
            )
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # a line a stage a second says nothing that bars do not
    for name in _SECOND_TELLERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger(_ADVISER).setLevel(logging.ERROR)
    for message in _FEWER_BLOCKS_THAN_WORKERS:
        warnings.filterwarnings("ignore", message, UserWarning)
    _make_actors_by_value()
    bars = config.progress and sys.stderr.isatty()
    context = ray.data.DataContext.get_current()
    own = {"enable_progress_bars": bars, "execution_no_progress_timeout_s": config.no_progress_timeout_s}
    for name, value in {**_CONTEXT, **own}.items():
        if name not in type(context).__dataclass_fields__:
            raise ConfigError(f"this Ray's DataContext has no setting {name}; install the pinned ray==2.60.0")
        setattr(context, name, value)


def _make_actors_by_value() -> None:
    """Let Ray Data's actors be made from values, where it puts them into the object store and hands references over.

    Ray Core says of every restartable actor with such a reference, as an error, that a restart fails once the object
    is lost (ray#53727). A value stands in the actor's own specification; one above Ray's limit of 100 KB still goes
    through the store, and is still told of.
    """
    start = ActorPoolMapOperator._start_actor
    if hasattr(start, "__wrapped__"):
        return

    @wraps(start)
    def by_value(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = vars(self)  # the references are cached properties, and live there
        references = {name: held[name] for name in _HANDED_OVER if name in held}
        held.update({name: getattr(self, value) for name, value in _HANDED_OVER.items()})
        try:
            return start(self, *args, **kwargs)
        finally:
            for name in _HANDED_OVER:
                del held[name]
            held.update(references)

    ActorPoolMapOperator._start_actor = by_value


def disconnect() -> None:
    """Leave the cluster, and stop a local Ray; a no-op when not connected."""
    if ray.is_initialized():
        ray.shutdown()


def tasks(pool: PoolConfig) -> dict[str, Any]:
    """Return `map_batches` arguments for a stateless stage: Arrow batches, placed as `pool` says."""
    placed = {"label_selector": pool.label_selector} if pool.label_selector else {}
    return {"batch_format": "pyarrow", "batch_size": pool.batch_size, "num_cpus": pool.num_cpus, **placed}


def actors(pool: PoolConfig) -> dict[str, Any]:
    """Return `map_batches` arguments for a stage that holds a model: a fixed pool of actors."""
    gpus = {"num_gpus": pool.num_gpus} if pool.num_gpus else {}
    return {**tasks(pool), **gpus, "compute": ray.data.ActorPoolStrategy(size=pool.workers)}


def read(
    root: str,
    table: Table,
    run_id: str | None = None,
    columns: Sequence[str] | None = None,
    good_only: bool = True,
    block_rows: int | None = None,
    order: str | None = None,
) -> ray.data.Dataset:
    """Return a published table as a Dataset.

    Args:
        root: folder or s3:// prefix.
        table: its declaration.
        run_id: pinned run; default the current one.
        columns: columns to read; default all.
        good_only: leave rows with an `error` out.
        block_rows: rows a block, that is, a task of the next stage; default 1024, or as the files lie.
        order: a column to sort by first. A job whose tables are sorted by it leaves its fragments in their order,
            so that they need no shuffle (`outputs`).

    Raises:
        NotPublished: there is none. SchemaError: it was written under another schema.
    """
    manifest = storage.published_table(root, table, run_id)
    names = list(columns or table.schema.names)
    files = storage.table_files(root, manifest)
    if storage.total_bytes(files) <= DRIVER_READ_BYTES:
        rows = storage.read_table(root, table, manifest.run_id, names, good_only)
        rows = rows.sort_by(order) if order else rows
        dataset = ray.data.from_arrow(blocks(rows, block_rows or DRIVER_BLOCK_ROWS))
        del rows
        pa.default_memory_pool().release_unused()  # the blocks are in the object store: not twice on one machine
        return dataset
    fs, _ = storage.filesystem(root)
    dataset = ray.data.read_parquet([storage.filesystem(f)[1] for f in files], filesystem=fs)
    read_names = [*names, *(["error"] if good_only and "error" not in names else [])]
    dataset = dataset.select_columns(read_names)
    if good_only:
        dataset = dataset.map_batches(_good_rows, fn_kwargs={"names": names}, batch_format="pyarrow", batch_size=None)
    dataset = dataset.sort(order) if order else dataset
    return dataset.repartition(target_num_rows_per_block=block_rows) if block_rows else dataset


def blocks(rows: pa.Table, block_rows: int) -> list[pa.Table]:
    """Return a table cut into blocks of `block_rows`, or of more where they would be above MAX_BLOCKS."""
    step = max(block_rows, -(-rows.num_rows // MAX_BLOCKS))
    return [rows.slice(i, step) for i in range(0, max(1, rows.num_rows), step)]


def _good_rows(batch: pa.Table, names: list[str]) -> pa.Table:
    return batch.filter(pc.is_null(batch["error"])).select(names)
