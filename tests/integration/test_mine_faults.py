"""Kill -9 while reports are mined: what was finished is not done again, and every report has its row.

*In flight* at a kill are the reports that were asked for and stand in no fragment yet: what is being
asked, and what is answered but not written.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import ray

from tests.conftest import REPO
from tests.integration.mining_world import (
    case,
    cases,
    common,
    findings,
    http,
    is_dead,
    kill,
    processes,
    publish_reports,
    tell,
    wait_until,
    written,
)
from tests.integration.test_mine_reports import publish
from tests.scripted_endpoint import Script, report, scripted_endpoint
from wristmir_ray.mining import pipeline, stages
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.isolation import MAX_DEATHS
from wristmir_ray.mining.pipeline import mine
from wristmir_ray.schemas import EXAMS

pytestmark = [pytest.mark.ray, pytest.mark.fault]
REPORTS = [report(n) for n in range(96)]
CONCURRENCY, FRAGMENT_ROWS = 2, 8
TASK_ROWS = max(4 * CONCURRENCY, FRAGMENT_ROWS)
"""What a worker is given, and what is lost with it, as a whole (`pipeline.ask_endpoint`)."""
HALF = len(REPORTS) // 2 + TASK_ROWS // 2
"""In the middle of a task."""


def asked(script: Script, times: int = 1) -> set[int]:
    """Return the reports that were asked for at least so often."""
    return {case(text) for text, n in dict(script.asked).items() if n >= times}


def test_a_killed_worker_costs_what_was_in_flight(local_ray: None, tmp_path: Path) -> None:
    """The job ends by itself; asked for again is the task of the dead worker, and no other report."""
    by_id = publish_reports(tmp_path, REPORTS)

    def kill_at_half() -> set[int]:
        kill("MapBatches(AskEndpoint)", when=lambda: script.asked.total() >= HALF and script.at_once > 0)
        return asked(script) - cases(by_id, written(tmp_path))

    with scripted_endpoint(pace_s=0.1) as (url, script), ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(kill_at_half)
        mine(MiningConfig(**common(tmp_path, engine="http", http=http(url, concurrency=CONCURRENCY))))
    again = asked(script, 2)
    tell(again, len(by_id), in_flight.result())
    assert 0 < len(again) <= TASK_ROWS
    assert set(script.asked.values()) == {1, 2}
    rows = findings(tmp_path)
    assert rows.keys() == by_id.keys()
    assert {r["status"] for r in rows.values()} == {"ok"}


@pytest.mark.slow
def test_a_killed_job_asks_again_only_for_what_was_in_flight(local_ray: None, tmp_path: Path) -> None:
    """Kill -9 of the driver at about half, the cluster stays; started again, the job asks for what was lost alone."""
    by_id = publish_reports(tmp_path, REPORTS)
    publish(tmp_path, EXAMS, [{"source_id": "s", "exam_id": "e", "report_id": min(by_id), "split": "test"}])
    with scripted_endpoint(pace_s=0.2) as (url, script):
        start = partial(_start_job, tmp_path, url)
        process = start()
        wait_until(lambda: script.asked.total() >= HALF or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        process.kill()
        process.wait()
        at_kill = asked(script) - cases(by_id, written(tmp_path))
        wait_until(lambda: not processes("MapBatches(AskEndpoint)"))
        lost = asked(script) - cases(by_id, written(tmp_path))
        assert start().wait(300) == 0, (tmp_path / "log").read_text()[-2000:]
    print(f"{len(at_kill)} were in flight when the driver died, its worker asked for {len(lost - at_kill)} more")
    rows = findings(tmp_path)
    assert rows.keys() == by_id.keys()
    assert {r["status"] for r in rows.values()} == {"ok"}
    again = asked(script, 2)
    tell(again, len(by_id), lost)
    assert len(lost - at_kill) < TASK_ROWS, "the worker began another task after its driver's death"
    assert set(script.asked.values()) == {1, 2}


def _start_job(root: Path, url: str) -> "subprocess.Popen[bytes]":
    settings = {"http.url": url, "http.concurrency": CONCURRENCY, "fragment_rows": FRAGMENT_ROWS}
    argv = [sys.executable, str(REPO / "jobs" / "mine_reports.py"), "--root", str(root), "--engine", "http"]
    argv += [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    joined = {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    with open(root / "log", "w") as out:
        return subprocess.Popen(argv, stdout=out, stderr=out, env=joined, start_new_session=True)


def slowly(batch: pa.Table, *, notes: str, seconds: float, **stage: Any) -> pa.Table:
    """Note who reads which reports, then read them, slowly."""
    with Path(notes).open("a") as f:
        f.write(f"{os.getpid()} {' '.join(batch['report_id'].to_pylist())}\n")
    time.sleep(seconds)
    return stages.mine_reports(batch, **stage)


def test_a_killed_worker_of_the_rules_costs_what_it_was_reading(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_id = publish_reports(tmp_path, REPORTS)
    notes = tmp_path / "notes"
    notes.touch()
    monkeypatch.setattr(pipeline, "mine_reports", partial(slowly, notes=str(notes), seconds=1.0))

    def begun() -> list[tuple[int, list[str]]]:
        lines = [line.split() for line in notes.read_text().splitlines()]
        return [(int(pid), ids) for pid, *ids in lines]

    def kill_at_half() -> set[int]:
        wait_until(lambda: sum(len(ids) for _, ids in begun()) >= len(by_id) // 2)
        victim = psutil.Process(begun()[-1][0])
        victim.kill()
        wait_until(lambda: is_dead(victim))
        started = {i for pid, ids in begun() if pid == victim.pid for i in ids}
        return cases(by_id, started - written(tmp_path))

    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(kill_at_half)
        mine(MiningConfig(**common(tmp_path, reports={"batch_size": FRAGMENT_ROWS})))
    read = [i for _, ids in begun() for i in ids]
    again = cases(by_id, {i for i in read if read.count(i) > 1})
    tell(again, len(by_id), in_flight.result())
    assert 0 < len(again) <= FRAGMENT_ROWS
    rows = findings(tmp_path)
    assert rows.keys() == by_id.keys()
    assert {r["status"] for r in rows.values()} == {"ok"}


def test_an_endpoint_that_dies_of_a_report_and_is_started_again(local_ray: None, tmp_path: Path) -> None:
    """As a vLLM server dies: 500 to all it was answering, then nobody listens, then it is there again."""
    texts = [report(n, "die" if n == 5 else "") for n in range(24)]
    by_id = publish_reports(tmp_path, texts)
    with scripted_endpoint(pace_s=0.1, restart_s=1.5) as (url, script):
        mine(MiningConfig(**common(tmp_path, engine="http", http=http(url, backoff_s=0.7))))
    print(f"{script.deaths} deaths, {script.asked.total()} requests for {len(texts)} reports")
    rows = {by_id[i]: r for i, r in findings(tmp_path).items()}
    assert [rows[t]["failure_class"] for t in texts] == [None if n != 5 else "engine_death" for n in range(24)]
    assert {r["status"] for t, r in rows.items() if t != texts[5]} == {"ok"}
    assert script.deaths == script.asked[_key(script, 5)] == MAX_DEATHS


def _key(script: Script, number: int) -> str:
    return next(text for text in script.asked if case(text) == number)
