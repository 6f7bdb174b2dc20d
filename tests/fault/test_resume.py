"""Kill -9 at half, resume, equal table; a worker that dies; a death before the manifest."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fault import rows_job
from wristmir_ray import raydata, storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.schemas import REPORTS

pytestmark = [pytest.mark.ray, pytest.mark.fault]


def _start(root: Path, seconds: float, flags: Path) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return subprocess.Popen(
        [sys.executable, rows_job.__file__, str(root), str(seconds), str(flags)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_kill_9_at_half_resumes_to_an_equal_table(tmp_path: Path, local_ray: None) -> None:
    killed, whole, first, second = (tmp_path / n for n in ("killed", "whole", "first", "second"))
    first.mkdir()
    second.mkdir()
    process = _start(killed, 0.15, first)
    work = killed / "_work"
    deadline = time.monotonic() + 120
    while len(list(work.rglob("*.parquet"))) < rows_job.NUM_ROWS // 10 and time.monotonic() < deadline:
        assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(NotPublished):
        storage.published(str(killed), "reports")

    summary = rows_job.run(str(killed), 0, str(second))
    recomputed = len((second / "calls").read_text().split())
    assert 0 < summary.resumed_rows < rows_job.NUM_ROWS
    assert recomputed == rows_job.NUM_ROWS - summary.resumed_rows
    third = tmp_path / "third"
    third.mkdir()
    rows_job.run(str(whole), 0, str(third))
    assert storage.read_table(str(killed), REPORTS).equals(storage.read_table(str(whole), REPORTS))
    assert storage.list_files(str(killed / "_work")) == []


def test_the_same_run_again_does_nothing(tmp_path: Path, local_ray: None) -> None:
    rows_job.run(str(tmp_path / "root"), 0, str(tmp_path))
    before = (tmp_path / "calls").read_text()
    again = rows_job.run(str(tmp_path / "root"), 0, str(tmp_path))
    assert again.skipped
    assert again.rows == rows_job.NUM_ROWS
    assert (tmp_path / "calls").read_text() == before


def test_a_worker_that_dies_costs_no_row_and_doubles_none(tmp_path: Path, local_ray: None) -> None:
    (tmp_path / "die-once").touch()
    rows_job.run(str(tmp_path / "root"), 0, str(tmp_path))
    assert not (tmp_path / "die-once").exists(), "the worker did not die"
    table = storage.read_table(str(tmp_path / "root"), REPORTS)
    assert table["report_id"].to_pylist() == [f"r{i:04d}" for i in range(rows_job.NUM_ROWS)]


def test_a_death_before_the_manifest_shows_nothing(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "root")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(raydata.storage, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            rows_job.run(root, 0, str(tmp_path))
    with pytest.raises(NotPublished):
        storage.read_table(root, REPORTS)
    assert rows_job.run(root, 0, str(tmp_path)).resumed_rows == rows_job.NUM_ROWS
    assert storage.read_table(root, REPORTS).num_rows == rows_job.NUM_ROWS


def test_the_distributed_sort_gives_the_same_table(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    rows_job.run(small, 0, str(tmp_path))
    monkeypatch.setattr(raydata, "DRIVER_SORT_BYTES", -1)
    rows_job.run(large, 0, str(tmp_path))
    assert storage.read_table(large, REPORTS).equals(storage.read_table(small, REPORTS))
    assert storage.published(large, "reports").rejects == storage.published(small, "reports").rejects
