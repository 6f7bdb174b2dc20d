"""Kill -9 a rank, the driver, a node: training goes on along the same curve, also with fewer ranks."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.fault.training_job import SNAPSHOT, config, curve, history
from tests.unit.training import toy
from wristmir_ray.errors import WristmirError
from wristmir_ray.models import clip as clips
from wristmir_ray.training import pipeline
from wristmir_ray.training.learner import Learner

pytestmark = [pytest.mark.ray, pytest.mark.fault]

TOLERANCE = 1e-4
"""Of a loss near 3.5 on another number of ranks: sums in another order, amplified over the steps."""


def ranks_of(driver: psutil.Process) -> list[psutil.Process]:
    return [p for p in driver.children(recursive=True) if "TrainWorker" in p.name()]


def kill_a_rank_after_the_first_checkpoint(root: Path) -> threading.Thread:
    def kill() -> None:
        while not list(root.glob(SNAPSHOT)):
            time.sleep(0.05)
        ranks_of(psutil.Process())[-1].kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def one_process(root: Path, epochs: int, batch: int = 48) -> list[float]:
    """Return the losses of the same training without ranks or a break."""
    whole = config(root, epochs, 1, batch=batch)
    torch.manual_seed(whole.seed)
    clip = clips.build(whole.encoder)
    files, _, _ = pipeline.decode(whole, "toy", round(clip.image_size * whole.pixel_margin))
    learner = Learner(whole, clip, *pipeline.pairs_of(whole, "toy", files))
    return [row["loss"] for epoch in range(learner.epochs) for row in learner.train_epoch(epoch)]


def starts(rows: list[dict[str, float]]) -> list[float]:
    return [row["ranks"] for row in rows if row["kind"] == "start"]


@pytest.mark.usefixtures("local_ray")
def test_a_rerun_with_fewer_ranks_goes_on_where_a_killed_rank_ended_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill -9 one of four ranks, with no restart allowed; two ranks end the run on the curve of one process."""
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    toy.publish(tmp_path, exams=40)
    unlucky = config(tmp_path, 4, 4)
    unlucky = unlucky.with_(workers=unlucky.workers.model_copy(update={"max_failures": 0}))
    thread = kill_a_rank_after_the_first_checkpoint(tmp_path)
    with pytest.raises(WristmirError, match=r"training failed: .* a rerun resumes") as caught:
        pipeline.run(unlucky)
    thread.join()
    assert caught.value.exit_code == 1
    assert not (tmp_path / "encoder").exists()
    rows = history(tmp_path, pipeline.run(config(tmp_path, 4, 2)).runs["encoder"])
    assert starts(rows) == [4, 2]
    assert [r["loss"] for r in rows if r["kind"] == "step"] == pytest.approx(one_process(tmp_path, 4), abs=TOLERANCE)


def start(root: Path, *arguments: int) -> subprocess.Popen[str]:
    """Train in a process of its own."""
    command = [sys.executable, "-m", "tests.fault.training_job", str(root), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return subprocess.Popen(
        command,
        env={**environment, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_worker_niceness": "0"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def finish(driver: subprocess.Popen[str], root: Path) -> list[dict[str, float]]:
    out, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0
    return history(root, out.split()[-1])


def wait_for_a_checkpoint(root: Path, driver: subprocess.Popen[str]) -> None:
    """Return as soon as one epoch is safe and long before the last one."""
    while not list(root.glob(SNAPSHOT)):
        assert driver.poll() is None, "training ended before it could be disturbed"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_driver_and_a_killed_rank_continue_the_same_curve(tmp_path: Path) -> None:
    """Kill -9 after the first checkpoint; the end is the history of an undisturbed run, number by number."""
    runs = {}
    for name in ("undisturbed", "driver", "rank"):
        root = tmp_path / name
        toy.publish(root, exams=40)
        driver = start(root, 12, 2)
        if name != "undisturbed":
            wait_for_a_checkpoint(root, driver)
            assert not (root / "encoder").exists()
        if name == "driver":
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            driver = start(root, 12, 2)
        if name == "rank":
            ranks = ranks_of(psutil.Process(driver.pid))
            assert len(ranks) == 2
            ranks[1].kill()
        runs[name] = finish(driver, root)
    assert starts(runs["driver"]) == starts(runs["rank"]) == [2, 2]
    assert curve(runs["driver"]) == curve(runs["undisturbed"])
    assert curve(runs["rank"]) == curve(runs["undisturbed"])


@pytest.mark.slow
def test_of_three_ranks_that_cannot_share_the_batch_one_stands_by(tmp_path: Path) -> None:
    """Four were asked for, three fit, 32 pairs are shared by two."""
    toy.publish(tmp_path, exams=40)
    rows = finish(start(tmp_path, 3, 4, 2, 3), tmp_path)
    (first,) = [r for r in rows if r["kind"] == "start"]
    assert (first["ranks"], first["standing_by"], first["pairs_a_rank"]) == (2, 1, 16)
    assert [r["loss"] for r in rows if r["kind"] == "step"] == pytest.approx(
        one_process(tmp_path, epochs=3, batch=32), abs=TOLERANCE
    )


@pytest.mark.slow
def test_an_elastic_run_goes_on_with_two_of_four_ranks_when_a_node_is_lost(tmp_path: Path) -> None:
    toy.publish(tmp_path / "elastic", exams=40)
    toy.publish(tmp_path / "whole", exams=40)
    rows = finish(start(tmp_path / "elastic", 12, 4, 2), tmp_path / "elastic")
    wanted = finish(start(tmp_path / "whole", 12, 2), tmp_path / "whole")
    assert starts(rows) == [4, 2]
    assert [r["step"] for r in rows if r["kind"] == "step"] == list(range(24))
    assert [r["loss"] for r in curve(rows)] == pytest.approx([r["loss"] for r in curve(wanted)], abs=TOLERANCE)
