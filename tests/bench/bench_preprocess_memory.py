"""Peak memory of `jobs/preprocess.py`: 20,000 radiographs must not need more than 2,000 do.

There is no peer: the job is held against itself. The demo's detectors and phantoms are made; EXAMS of both
sizes name the phantoms' files in turn, each row an exam of its own, and the job runs on them as a user
starts it, in a process of its own with a Ray of its own. `ratio` is the peak (`peak.py`) with the larger
archive over that with the smaller one.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.peak import peak_of, publish_rows
from tests.bench.trained import JOBS, detectors

MANY = int(os.environ.get("BENCH_EXAMS", "20000"))
SIZES = (MANY // 10, MANY)


def measure() -> dict[str, Any]:
    """Return both peaks, their ratio, and the larger archive's images a second."""
    from wristmir_ray import raydata

    with tempfile.TemporaryDirectory() as folder:
        demo = detectors(folder)
        raydata.disconnect()
        runs = [_run(n, demo, Path(folder)) for n in SIZES]
    few, many = (peak for peak, _ in runs)
    return {
        "ours": round(many / 2**20),
        "peer": None,
        "ratio": round(many / few, 3),
        "unit": "MiB",
        "images": SIZES,
        "mib": [round(peak / 2**20) for peak, _ in runs],
        "growth_bytes": round((many - few) / (SIZES[1] - SIZES[0])),
        "images_per_s": round(MANY / runs[-1][1], 1),
    }


def _run(exams: int, demo: Any, folder: Path) -> tuple[int, float]:
    """Return peak bytes and seconds of the job on so many exams."""
    from wristmir_ray import storage
    from wristmir_ray.schemas import EXAMS

    known = storage.read_table(demo.archive, EXAMS).to_pylist()
    root = folder / str(exams)
    rows = [{**known[i % len(known)], "source_id": f"{i:08d}", "exam_id": f"{i:08d}"} for i in range(exams)]
    publish_rows(str(root), EXAMS, rows)
    job = [sys.executable, str(JOBS / "preprocess.py")]
    argv = [*job, "--root", str(root), "--detectors", demo.archive, "--ray.progress", "false"]
    return peak_of(argv, folder / "log")
