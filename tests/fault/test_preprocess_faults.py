"""Preprocess under a killed machine, a full disk, a store that goes away: nothing half-published, all resumed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import REPO
from tests.fault.preprocess_job import BATCH, EXAMS_COUNT, FRAGMENT, WORKERS, images, preprocess, publish
from tests.s3_server import BUCKET, empty_bucket, s3_server
from wristmir_ray import storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.schemas import CROPS, REGIONS

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.usefixtures("local_ray")]

IN_FLIGHT = WORKERS * (BATCH + 2 * FRAGMENT) + 2 * FRAGMENT
"""Detected but in no fragment yet: a batch a worker, what waits between the stages, what is being written."""


@contextmanager
def job(
    root: str, calls: Path, seconds: float, more: Mapping[str, str], before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """The job in a process of its own; it and all that descend from it are gone at the end."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONPATH": str(REPO), **more}
    argv = [*before, sys.executable, "-m", "tests.fault.preprocess_job", root, str(calls), str(seconds)]
    process = subprocess.Popen(
        argv,
        cwd=REPO,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        tree: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for p in tree:
            with suppress(psutil.NoSuchProcess):
                p.kill()
        psutil.wait_procs(tree, 30)
        process.wait()


def until_half(process: subprocess.Popen[str], calls: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        if calls.exists() and calls.stat().st_size >= EXAMS_COUNT // 2:
            return
        time.sleep(0.02)
    pytest.fail("the job did not come to its half")


def nothing_published(root: str) -> None:
    for table in (REGIONS, CROPS):
        with pytest.raises(NotPublished):
            storage.published(root, table.name)


def equal_to_a_whole_run(root: str, whole: str, calls: Path) -> None:
    preprocess(whole, calls)
    same_tables(root, whole)


def same_tables(root: str, whole: str) -> None:
    for table in (REGIONS, CROPS):
        rows = storage.read_table(root, table, good_only=False)
        assert rows.num_rows == 4 * EXAMS_COUNT
        assert rows.equals(storage.read_table(whole, table, good_only=False))


def local_archive(tmp_path: Path, *names: str) -> list[str]:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, data in images().items():
        (folder / name).write_bytes(data)
    roots = [str(tmp_path / name) for name in names]
    for root in roots:
        publish(root, str(folder))
    return roots


def test_kill_9_at_half_resumes_to_equal_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, whole = local_archive(tmp_path, "killed", "whole")
    first, second = tmp_path / "first", tmp_path / "second"
    with job(root, first, 0.05, {}) as process:
        until_half(process, first)
        tree = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        for worker in tree:  # the machine is gone, not the driver alone
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(tree, 30)
    nothing_published(root)
    done = preprocess(root, second)
    recomputed = first.stat().st_size + second.stat().st_size - EXAMS_COUNT
    with capsys.disabled():
        print(f"\nkill -9 at half of preprocess: {recomputed} of {EXAMS_COUNT} exams recomputed, in flight {IN_FLIGHT}")
    assert 0 < done.resumed_rows < EXAMS_COUNT
    assert 0 <= recomputed <= IN_FLIGHT
    equal_to_a_whole_run(root, whole, tmp_path / "third")
    assert storage.list_files(storage.join(root, "_work")) == []


def no_name_space() -> bool:
    tried = subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True)
    return tried.returncode != 0


def test_a_full_disk_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    """The root is a file system of half a megabyte of its own; what was finished is taken over to a larger disk."""
    if shutil.which("unshare") is None or no_name_space():
        pytest.skip("no mount name space may be made here: the disk cannot be filled")
    (whole,) = local_archive(tmp_path, "whole")
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    script = (
        'mount -t tmpfs -o size=1m tmpfs "$0" && cp -r "$1"/. "$0" && shift 1 && "$@"; code=$?; '
        'cp -r "$SMALL" "$KEPT"; exit $code'
    )
    before = ["unshare", "-rm", "sh", "-c", script, str(small), whole]
    with job(str(small), tmp_path / "calls", 0.0, {"SMALL": str(small), "KEPT": str(kept)}, before) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert re.search(rf"cannot write {small}/\S+ \(No space left on device\); make room", errors)
    assert "Traceback" not in errors, errors
    nothing_published(str(kept))
    done = preprocess(str(kept), tmp_path / "again")
    assert 0 < done.resumed_rows < EXAMS_COUNT
    equal_to_a_whole_run(str(kept), whole, tmp_path / "third")
    assert not list(kept.rglob(".writing-*"))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["images", "tables"])
def test_a_store_that_goes_away_ends_the_job_and_it_resumes(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The S3 server dies at half, with the images on it or with the tables; a new one takes its place."""
    roots = local_archive(tmp_path, "root", "whole")
    calls = tmp_path / "calls"
    with s3_server() as endpoint:
        environment = empty_bucket(endpoint)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        root = _on_s3(what, roots[0])
        with job(root, calls, 0.05, environment) as process:
            until_half(process, calls)
            saved = _objects() if what == "tables" else {}
            _stop_server(endpoint)
            _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    assert re.search(r"the store of the images is away \(\w+\)|cannot write s3://\S+ \(\w+\)", errors), errors
    assert "run the job again: it goes on where it stopped" in errors
    preprocess(roots[1], tmp_path / "third")
    with s3_server() as endpoint:
        environment = empty_bucket(endpoint)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if what == "tables":
            for uri, data in saved.items():
                storage.write_bytes(uri, data)
        else:
            _on_s3(what, roots[0])
        nothing_published(root)
        assert 0 < _resumed(root, tmp_path / "again", environment) < EXAMS_COUNT
        same_tables(root, roots[1])


def _resumed(root: str, calls: Path, environment: Mapping[str, str]) -> int:
    """Run the job again, on a Ray that knows the store; return how many rows it took over."""
    with job(root, calls, 0.0, environment) as process:
        out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    found = re.search(r"resumed (\d+)", out)
    assert found
    return int(found[1])


def _on_s3(what: str, local: str) -> str:
    """Move the images, or the root, to the bucket; return the root."""
    if what == "tables":
        root = f"s3://{BUCKET}/root"
        publish(root, str(Path(local).parent / "images"))
        return root
    for name, data in images().items():
        storage.write_bytes(f"s3://{BUCKET}/images/{name}", data)
    publish(local, f"s3://{BUCKET}/images")
    return local


def _objects() -> dict[str, bytes]:
    return {uri: storage.read_bytes(uri) for uri in storage.list_files(f"s3://{BUCKET}/root")}


def _stop_server(endpoint: str) -> None:
    port = int(endpoint.rsplit(":", 1)[1])
    for process in psutil.process_iter(["cmdline"]):
        if "moto.server" in (process.info["cmdline"] or []) and any(
            c.laddr.port == port for c in process.net_connections() if c.status == psutil.CONN_LISTEN
        ):
            process.kill()
