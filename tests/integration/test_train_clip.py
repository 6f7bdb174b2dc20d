"""Training through Ray: published, repeated as a no-op, resumed after a killed driver and a dead rank."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.unit.training import toy
from wristmir_ray import storage
from wristmir_ray.config import RayConfig
from wristmir_ray.errors import ConfigError, NotPublished, WristmirError
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.training import pipeline
from wristmir_ray.training.config import TrainClipConfig

pytestmark = pytest.mark.ray


def config(root: Path, **changes: object) -> TrainClipConfig:
    """Two CPU ranks, three epochs of three steps on 40 drawn exams."""
    settings = {
        "root": str(root),
        "encoder": {"init": "random", "image_size": 32, "fixed_batch": 8},
        "trainable": {"image_blocks": None},
        "batch_size": 32,
        "epochs": 3,
        "optim": {"lr": 3e-3, "warmup_steps": 2},
        "workers": {"num_workers": 2, "use_gpu": False, "cpus": 1, "max_failures": 1},
        "ray": RayConfig(progress=False).model_dump(),
        **changes,
    }
    return TrainClipConfig(**settings)  # type: ignore[arg-type]


def history(root: Path, run_id: str) -> list[dict[str, float]]:
    uri = storage.join(storage.run_uri(str(root), "encoder", run_id), "metrics.jsonl")
    return [json.loads(line) for line in storage.read_bytes(uri).splitlines()]


@pytest.mark.usefixtures("local_ray")
def test_a_trained_encoder_is_published_with_all_it_leaves(tmp_path: Path) -> None:
    toy.publish(tmp_path, exams=40, corrupt=1)
    summary = pipeline.run(config(tmp_path))
    assert summary.rejects == {"corrupt_image": 1}
    assert not summary.skipped
    manifest = storage.published(str(tmp_path), "encoder")
    folder = tmp_path / "encoder" / "runs" / manifest.run_id
    assert {p.name for p in folder.iterdir()} == {*manifest.files, "manifest.json"}
    assert {"model.safetensors", "encoder.json", "metrics.jsonl", "curves.png", "model_card.md"} <= set(manifest.files)
    assert manifest.inputs == {"crops": "toy", "captions": "toy"}
    rows = history(tmp_path, manifest.run_id)
    assert [r["step"] for r in rows if r["kind"] == "step"] == list(range(6))
    assert [r["epoch"] for r in rows if r["kind"] == "epoch"] == [0, 1, 2]
    best = max((r for r in rows if r["kind"] == "epoch"), key=lambda r: r["score"])
    assert manifest.metrics["val_recall_at_5"] == best["score"]
    encoder = load_encoder(str(tmp_path))
    assert encoder.digest == manifest.metrics["digest"]
    assert encoder.digest in (folder / "model_card.md").read_text()
    again = pipeline.run(config(tmp_path))
    assert again.skipped
    assert again.runs == summary.runs
    assert load_encoder(str(tmp_path)).digest == encoder.digest


@pytest.mark.usefixtures("local_ray")
def test_data_that_cannot_train_is_refused_before_any_worker_starts(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="nothing is published as 'crops'"):
        pipeline.run(config(tmp_path))
    toy.publish(tmp_path, exams=10)
    with pytest.raises(ConfigError, match="24 training pairs do not fill a batch of 32"):
        pipeline.run(config(tmp_path))
    with pytest.raises(ConfigError, match="do not outlast"):
        pipeline.run(config(tmp_path, batch_size=24, epochs=2))
    with pytest.raises(ConfigError, match="distinct training captions are too few for 12 ranks"):
        pipeline.run(config(tmp_path, batch_size=24, workers={"num_workers": 12, "use_gpu": False, "cpus": 0.1}))
    assert not (tmp_path / "encoder").exists()
    assert not (tmp_path / "_work" / "train_clip").exists()


@pytest.mark.usefixtures("local_ray")
def test_a_loss_that_is_no_number_stops_the_job_with_the_batch_it_came_from(tmp_path: Path) -> None:
    toy.publish(tmp_path, exams=40)
    workers = {"num_workers": 2, "use_gpu": False, "cpus": 1, "max_failures": 0}
    with pytest.raises(WristmirError, match=r"loss nan at step \d+ \(epoch 0\); its batch begins with [0-9a-f]{32}"):
        pipeline.run(config(tmp_path, optim={"lr": 1e38, "warmup_steps": 0}, workers=workers))
    assert not (tmp_path / "encoder").exists()


_DRIVER = """
import sys
from wristmir_ray.training import pipeline
from tests.integration.test_train_clip import config
from pathlib import Path
summary = pipeline.run(config(Path(sys.argv[1]), epochs=int(sys.argv[2])))
print(summary.runs["encoder"])
"""


def start(root: Path) -> subprocess.Popen[str]:
    """Train twelve epochs in a process of its own."""
    command = [sys.executable, "-c", _DRIVER, str(root), "12"]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def finish(driver: subprocess.Popen[str], root: Path) -> list[dict[str, float]]:
    out, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0
    return history(root, out.split()[-1])


def wait_for_a_checkpoint(root: Path, driver: subprocess.Popen[str]) -> None:
    """Return as soon as one epoch is safe and long before the last one."""
    while not list(root.glob("_work/train_clip/*/checkpoint_manager_snapshot.json")):
        assert driver.poll() is None, "training ended before it could be disturbed"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_driver_and_a_killed_rank_continue_the_same_curve(tmp_path: Path) -> None:
    """Kill -9 after the first checkpoint; the end is the history of an undisturbed run, number by number."""
    runs = {}
    for name in ("undisturbed", "driver", "rank"):
        root = tmp_path / name
        toy.publish(root, exams=40)
        driver = start(root)
        if name != "undisturbed":
            wait_for_a_checkpoint(root, driver)
            assert not (root / "encoder").exists()
        if name == "driver":
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            driver = start(root)
        if name == "rank":
            ranks = [p for p in psutil.Process(driver.pid).children(recursive=True) if "TrainWorker" in p.name()]
            assert len(ranks) == 2
            ranks[1].kill()
        runs[name] = finish(driver, root)
    assert runs["driver"] == runs["undisturbed"]
    assert runs["rank"] == runs["undisturbed"]
