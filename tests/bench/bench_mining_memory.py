"""Peak memory of `jobs/mine_reports.py` by rules: 100,000 reports must not need more than few do.

There is no peer: the job is held against itself. An archive of one exam a report is published, every
report distinct, and the job runs on it as a user starts it, in a process of its own with a Ray of its
own. The peak is the largest sum of proportional set sizes over its whole process tree, sampled twice a
second: driver, Ray's own processes, workers, and the pages of the object store, which belong to those
who map them; a page that several share counts once.

With 1,000 reports there is a single block, so that most workers have nothing to do: part of `ratio`
(the largest archive over the smallest) is that they all work. `tenfold_ratio` is the largest over the
middle one, where they all work too; `growth_bytes` is what one more report adds between these two.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.mining_cases import distinct_reports

MANY = int(os.environ.get("BENCH_REPORTS", "100000"))
SIZES = (MANY // 100, MANY // 10, MANY)
JOB = Path(__file__).parents[2] / "jobs" / "mine_reports.py"
INTERVAL_S = 0.5
FILE_ROWS = 20_000


def measure() -> dict[str, Any]:
    """Return the peaks of all sizes, their ratios, and the largest one's reports a second."""
    runs = [_run(n) for n in SIZES]
    few, middle, many = (peak for peak, _ in runs)
    return {
        "ours": round(many / 2**20),
        "peer": None,
        "ratio": round(many / few, 3),
        "tenfold_ratio": round(many / middle, 3),
        "unit": "MiB",
        "reports": SIZES,
        "mib": [round(peak / 2**20) for peak, _ in runs],
        "growth_bytes": round((many - middle) / (SIZES[2] - SIZES[1])),
        "reports_per_s": round(MANY / runs[-1][1], 1),
    }


def _run(reports: int) -> tuple[int, float]:
    """Return peak bytes and seconds of the job on so many reports."""
    with tempfile.TemporaryDirectory() as root:
        make_archive(root, reports)
        argv = [sys.executable, str(JOB), "--root", root, "--ray.progress", "false"]
        started = time.monotonic()
        with open(Path(root) / "log", "wb") as log:
            job = subprocess.Popen(argv, stdout=log, stderr=log)
            peak = max(_until_done(job))
        assert job.returncode == 0, (Path(root) / "log").read_text()[-2000:]
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


def make_archive(root: str, reports: int) -> None:
    """Publish REPORTS and EXAMS, one exam a report, in files of 20,000 rows as ingest may leave them."""
    from wristmir_ray import keys
    from wristmir_ray.schemas import EXAMS, REPORTS

    rows = sorted((keys.report_id(text), text) for text in distinct_reports(reports))
    _publish(root, REPORTS, [{"report_id": i, "text": t} for i, t in rows])
    exam = {"laterality": "left", "view": "pa", "split": "train"}
    _publish(root, EXAMS, [{"source_id": i, "exam_id": i, "report_id": i, **exam} for i, _ in rows])


def _publish(root: str, table: Any, rows: list[dict[str, Any]]) -> None:
    from wristmir_ray import storage
    from wristmir_ray.schemas import conform

    folder = storage.run_uri(root, table.name, "made")
    files = {f"{i:08d}.parquet": rows[i : i + FILE_ROWS] for i in range(0, len(rows), FILE_ROWS)}
    for name, part in files.items():
        storage.write_parquet(conform(part, table), storage.join(folder, name), table.row_group_size)
    manifest = storage.Manifest(
        table.name, "made", "bench", rows=len(rows), schema=table.fingerprint, files=sorted(files)
    )
    storage.publish(root, manifest)
