"""Peak memory of a job, and tables of any size to give to it."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

INTERVAL_S = 0.5
FILE_ROWS = 20_000


def peak_of(argv: Sequence[str], log: Path) -> tuple[int, float]:
    """Run a program to its end; return its peak in bytes, and seconds.

    The peak is the largest sum of proportional set sizes over its whole process tree, sampled twice a
    second: driver, Ray's own processes, workers, and the pages of the object store, which belong to those
    who map them; a page that several share counts once.
    """
    started = time.monotonic()
    with open(log, "wb") as out:
        job = subprocess.Popen(argv, stdout=out, stderr=out)
        peak = max(_until_done(job))
    assert job.returncode == 0, log.read_text()[-2000:]
    return peak, time.monotonic() - started


def _until_done(job: subprocess.Popen[bytes]) -> Iterator[int]:
    while job.poll() is None:
        yield tree_pss(job.pid)
        time.sleep(INTERVAL_S)


def tree_pss(pid: int) -> int:
    """Return the proportional set sizes of a process and all that descend from it, bytes."""
    total = 0
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in tree:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has ended since
    return total


def publish_rows(root: str, table: Any, rows: list[dict[str, Any]]) -> None:
    """Publish a table in files of 20,000 rows, as a large job leaves it."""
    from wristmir_ray import storage
    from wristmir_ray.tables import conform

    folder = storage.run_uri(root, table.name, "made")
    files = {f"{i:08d}.parquet": rows[i : i + FILE_ROWS] for i in range(0, len(rows), FILE_ROWS)}
    for name, part in files.items():
        storage.write_parquet(conform(part, table), storage.join(folder, name), table.row_group_size)
    manifest = storage.Manifest(
        table.name, "made", "bench", rows=len(rows), schema=table.fingerprint, files=sorted(files)
    )
    storage.publish(root, manifest)
