"""What tests of mining by a model share: reports in, findings out, and the death of a chosen process in between."""

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from tests.integration.test_mine_reports import publish
from wristmir_ray import keys, storage
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.schemas import FINDINGS, REPORTS


def publish_reports(root: Path, texts: list[str]) -> dict[str, str]:
    """Publish REPORTS; return report id -> text."""
    by_id = {keys.report_id(t): t for t in texts}
    publish(root, REPORTS, [{"report_id": i, "text": t} for i, t in by_id.items()])
    return by_id


def findings(root: Path) -> dict[str, dict[str, Any]]:
    """Return report id -> row; no report has two."""
    rows = storage.read_table(str(root), FINDINGS, good_only=False).to_pylist()
    assert len({r["report_id"] for r in rows}) == len(rows)
    return {r["report_id"]: r for r in rows}


def common(root: Path, **changes: Any) -> dict[str, Any]:
    return {"root": str(root), "max_reject_share": 1.0, "fragment_rows": 8, "ray": {"progress": False}, **changes}


def http(url: str, **changes: Any) -> HttpConfig:
    return HttpConfig(**{"url": url, "timeout_s": 2.5, "retries": 1, "backoff_s": 0.01, "concurrency": 4, **changes})


def written(root: Path) -> set[str]:
    """Return the ids of the reports that stand in a fragment of an unfinished run."""
    files = (root / "_work").rglob("*.parquet")
    return {i for f in files for i in pq.read_table(f, columns=["report_id"])["report_id"].to_pylist()}


def case(text: str) -> int:
    """Return the number of the report that stands in a text."""
    return int(re.findall(r"case (\d+)", text)[-1])


def cases(by_id: dict[str, str], ids: Iterable[str]) -> set[int]:
    return {case(by_id[i]) for i in ids}


def wait_until(happened: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.01)


def processes(title: str) -> list[psutil.Process]:
    """Return what runs below this process, so also its Ray, under a title that holds `title`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill(title: str, when: Callable[[], bool]) -> psutil.Process:
    """Kill -9 the one process of this Ray that has such a title, as soon as `when`; return it, dead."""
    wait_until(lambda: len(processes(title)) == 1)
    (process,) = processes(title)
    wait_until(when)
    process.kill()
    wait_until(lambda: is_dead(process))
    time.sleep(0.5)  # what it sent before it died is on record now; nothing is up again so soon
    return process


def is_dead(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def tell(recomputed: set[int], total: int, in_flight: set[int]) -> None:
    """Print what a kill cost, and check that it cost only what was in flight."""
    print(f"recomputed {len(recomputed)} of {total}, in flight at the kill <= {len(in_flight)}")
    assert recomputed <= in_flight, f"finished reports were read again: {sorted(recomputed - in_flight)}"
