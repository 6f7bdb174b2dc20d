"""Peak memory of `jobs/mine_reports.py` by rules: 100,000 reports must not need more than few do.

There is no peer: the job is held against itself. An archive of one exam a report is published, every
report distinct, and the job runs on it as a user starts it, in a process of its own with a Ray of its
own. The peak is that of its whole process tree (`peak.py`).

With 1,000 reports there is a single block, so that most workers have nothing to do: part of `ratio`
(the largest archive over the smallest) is that they all work. `tenfold_ratio` is the largest over the
middle one, where they all work too; `growth_bytes` is what one more report adds between these two.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.peak import peak_of, publish_rows
from tests.mining_cases import distinct_reports

MANY = int(os.environ.get("BENCH_REPORTS", "100000"))
SIZES = (MANY // 100, MANY // 10, MANY)
JOB = Path(__file__).parents[2] / "jobs" / "mine_reports.py"


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
        return peak_of([sys.executable, str(JOB), "--root", root, "--ray.progress", "false"], Path(root) / "log")


def make_archive(root: str, reports: int) -> None:
    """Publish REPORTS and EXAMS, one exam a report, in files of 20,000 rows as ingest may leave them."""
    from wristmir_ray import keys
    from wristmir_ray.schemas import EXAMS, REPORTS

    rows = sorted((keys.report_id(text), text) for text in distinct_reports(reports))
    publish_rows(root, REPORTS, [{"report_id": i, "text": t} for i, t in rows])
    exam = {"laterality": "left", "view": "pa", "split": "train"}
    publish_rows(root, EXAMS, [{"source_id": i, "exam_id": i, "report_id": i, **exam} for i, _ in rows])
