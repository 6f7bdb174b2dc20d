"""A small table job to be killed: `python rows_job.py ROOT SECONDS_A_ROW FLAG_FOLDER`."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from wristmir_ray import schemas, tablerun
from wristmir_ray.config import JobConfig
from wristmir_ray.job import Summary
from wristmir_ray.outputs import Output
from wristmir_ray.tables import conform

NUM_ROWS = 120


def upper(batch: pa.Table, seconds: float, flags: str) -> pa.Table:
    """Upper-case the text slowly; die once, without a word, where a flag file asks for it."""
    time.sleep(seconds * batch.num_rows)
    with (Path(flags) / "calls").open("a") as f:
        f.write("".join(f"{k}\n" for k in batch["report_id"].to_pylist()))
    bomb = Path(flags) / "die-once"
    if bomb.exists() and "r0040" in batch["report_id"].to_pylist():
        bomb.unlink()
        os._exit(1)
    return conform({"report_id": batch["report_id"], "text": pc.utf8_upper(batch["text"])}, schemas.REPORTS)


def run(root: str, seconds: float, flags: str) -> Summary:
    """Publish REPORTS from 120 generated rows."""
    config: Any = JobConfig(root=root, fragment_rows=5, ray={"progress": False, "object_store_gib": 0.2})
    rows = pa.table(
        {"report_id": [f"r{i:04d}" for i in range(NUM_ROWS)], "text": [f"text {i}" for i in range(NUM_ROWS)]}
    )
    stage = {"seconds": seconds, "flags": flags}
    return tablerun.run_tables(
        tablerun.TableRun("rows", config, {}, "code"),
        lambda: ray.data.from_arrow(rows).repartition(target_num_rows_per_block=5),
        lambda ds: ds.map_batches(upper, fn_kwargs=stage, batch_format="pyarrow", batch_size=5),
        schemas.REPORTS,
        [Output(schemas.REPORTS)],
        ["reports"],
    )


if __name__ == "__main__":
    print(run(sys.argv[1], float(sys.argv[2]), sys.argv[3]))
