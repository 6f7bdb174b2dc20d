"""Kill -9 at half, resume, equal table; a worker that dies; a death before the manifest."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
import ray.data

from tests.fault import rows_job
from wristmir_ray import outputs, raydata, storage, tablerun
from wristmir_ray.config import JobConfig, PoolConfig
from wristmir_ray.errors import NotPublished, WorkerFails
from wristmir_ray.outputs import Output
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
    time.sleep(
        3
    )  # a task of the dead driver's that is under way (.75 s) may still write below what the next run deletes
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
        m.setattr(tablerun.storage, "publish", die)
        with pytest.raises(KeyboardInterrupt):
            rows_job.run(root, 0, str(tmp_path))
    with pytest.raises(NotPublished):
        storage.read_table(root, REPORTS)
    assert rows_job.run(root, 0, str(tmp_path)).resumed_rows == rows_job.NUM_ROWS
    assert storage.read_table(root, REPORTS).num_rows == rows_job.NUM_ROWS


@pytest.mark.parametrize("most_read", [outputs.MOST_READ, 0], ids=["ranges", "sort"])
def test_tasks_publish_the_same_table(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch, most_read: float
) -> None:
    small, large = str(tmp_path / "small"), str(tmp_path / "large")
    rows_job.run(small, 0, str(tmp_path))
    monkeypatch.setattr(outputs, "DRIVER_BYTES", -1)
    monkeypatch.setattr(outputs, "RANGE_BYTES", 500)
    monkeypatch.setattr(outputs, "MOST_READ", most_read)
    rows_job.run(large, 0, str(tmp_path))
    assert len(storage.published(large, "reports").files) > 1
    assert storage.read_table(large, REPORTS).equals(storage.read_table(small, REPORTS))
    assert storage.published(large, "reports").rejects == storage.published(small, "reports").rejects


def test_a_table_is_read_alike_by_the_driver_and_by_workers(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "archive")
    rows_job.run(root, 0, str(tmp_path))
    expected = storage.read_table(root, REPORTS, columns=["report_id"]).to_pylist()
    for limit in (raydata.DRIVER_READ_BYTES, -1):
        monkeypatch.setattr(raydata, "DRIVER_READ_BYTES", limit)
        dataset = raydata.read(root, REPORTS, columns=["report_id"], block_rows=7).materialize()
        assert max(m.num_rows for bundle in dataset.iter_internal_ref_bundles() for m in bundle.metadata) <= 7
        assert sorted(dataset.take_all(), key=lambda r: r["report_id"]) == expected


def test_blocks_are_bounded_in_rows_and_in_number() -> None:
    assert [b.num_rows for b in raydata.blocks(REPORTS.schema.empty_table(), 7)] == [0]
    assert [b.num_rows for b in raydata.blocks(pa.table({"n": list(range(15))}), 7)] == [7, 7, 1]
    many = pa.table({"n": list(range(3 * raydata.MAX_BLOCKS))})
    assert len(raydata.blocks(many, 1)) == raydata.MAX_BLOCKS


class NeverStarts:
    """A stage whose constructor fails, as with weights that are not there."""

    def __init__(self) -> None:
        raise OSError("no weights here")

    def __call__(self, batch: pa.Table) -> pa.Table:
        return batch


def test_a_worker_that_does_not_start_is_one_line(tmp_path: Path, local_ray: None) -> None:
    config = JobConfig(root=str(tmp_path), ray={"progress": False})
    rows = pa.table({"report_id": ["r1"], "text": ["text"]})
    with pytest.raises(WorkerFails, match=r"^a worker does not start: OSError: no weights here; mend") as caught:
        tablerun.run_tables(
            tablerun.TableRun("rows", config, {}, "code"),
            lambda: ray.data.from_arrow(rows),
            lambda ds: ds.map_batches(NeverStarts, **raydata.actors(PoolConfig())),
            REPORTS,
            [Output(REPORTS)],
            ["reports"],
        )
    assert caught.value.exit_code == 2
    with pytest.raises(NotPublished):
        storage.published(str(tmp_path), "reports")
