"""An ingest of a grown archive is killed -9 halfway: what was decoded before is not decoded again."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPO
from tests.integration.growing_archive import GrowingArchive
from wristmir_ray import storage

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.usefixtures("local_ray")]

OLD, ALL = 12, 52


def _kill_halfway(archive: GrowingArchive) -> None:
    """Start the job in a process of its own; kill it once a quarter of its fragments are written."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "tests.fault.ingest_job", str(archive.folder), "grown", "0.2"]
    process = subprocess.Popen(
        command, cwd=REPO, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    work = archive.folder / "grown" / "_work" / "ingest_sources"
    deadline = time.monotonic() + 240
    while len(list(work.rglob("*.parquet"))) < (ALL - OLD) // 4 // 4 and time.monotonic() < deadline:
        assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.05)
    tree = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for worker in tree:  # the machine is gone: no worker that outlives its driver finishes a fragment
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    psutil.wait_procs(tree, 30)


def test_a_killed_increment_resumes_to_equal_tables(tmp_path: Path) -> None:
    archive = GrowingArchive(tmp_path)
    archive.add(*range(OLD))
    archive.write_tables(ALL)
    first, _ = archive.ingest("grown")
    archive.add(*range(OLD, ALL))
    _kill_halfway(archive)
    root = str(archive.folder / "grown")
    assert storage.published(root, "exams").run_id == first.runs["exams"], "readers see the run before"
    summary, decoded = archive.ingest("grown")
    assert 0 < summary.resumed_rows < ALL - OLD
    assert decoded == ALL - OLD - summary.resumed_rows
    assert (summary.facts["taken_over"], summary.facts["read"]) == (OLD, ALL - OLD)
    archive.ingest("whole")
    assert archive.same("grown", "whole")
    assert not storage.list_files(storage.join(root, "_work"))


def test_a_death_between_the_two_runs_decodes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = GrowingArchive(tmp_path)
    archive.add(*range(OLD))
    archive.write_tables(OLD)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr("wristmir_ray.ingest.exams.merge", die)
        with pytest.raises(KeyboardInterrupt):
            archive.ingest("grown")
    summary, decoded = archive.ingest("grown")
    assert (decoded, summary.rows) == (0, OLD)
    archive.ingest("whole")
    assert archive.same("grown", "whole")
