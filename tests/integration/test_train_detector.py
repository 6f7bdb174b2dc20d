"""The detector job on a real local Ray: trains offline, publishes ONNX, is skipped the second time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.rectangles import write_archive
from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.detection.config import DetectionConfig, TargetConfig
from wristmir_ray.detection.pipeline import run
from wristmir_ray.errors import ConfigError, TooManyRejects
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, load_detector

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


OFFLINE = """
import socket, sys
from pathlib import Path

def refuse(*a, **k):
    Path("asked").write_text("a host was asked for")
    raise OSError("no network")

socket.getaddrinfo = socket.socket.connect = socket.create_connection = refuse
import pyarrow as pa
from wristmir_ray.detection.config import DetectionConfig, TargetConfig
from wristmir_ray.detection.dataset import choose_exams
from wristmir_ray.detection.stages import prepare_samples
from wristmir_ray.detection.trainer import train_target

config = DetectionConfig(root=sys.argv[1], boxes=sys.argv[2])
samples = prepare_samples(choose_exams(config), config=config)
done = train_target(samples, TargetConfig(target="roi", image_size=64, epochs=1), 0, 0.5, threads=1, gpu=False)
print(len(done.model))
"""


def _config(root: Path, boxes: str, epochs: int, side: int) -> DetectionConfig:
    return DetectionConfig(
        root=str(root),
        boxes=boxes,
        roi=TargetConfig(target="roi", image_size=side, epochs=epochs),
        bones=TargetConfig(target="bones", image_size=side, epochs=epochs),
    )


def test_both_detectors_are_published_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = write_archive(tmp_path, train=12, val=4)
    (tmp_path / "images" / "000003.png").write_bytes(b"not an image")
    before = {p.name for p in Path.cwd().iterdir()}
    done = run(_config(tmp_path, boxes, epochs=1, side=64))
    assert {p.name for p in Path.cwd().iterdir()} == before, "the trainer wrote into the working folder"
    assert (done.rows, done.rejects, done.skipped) == (16, {"unknown_format": 1}, False)

    for name, classes in ((ROI_DETECTOR, (Region.WRIST,)), (BONE_DETECTOR, BONES)):
        manifest = storage.published(str(tmp_path), name)
        files = {p.name for p in (tmp_path / name / "runs" / manifest.run_id).iterdir()}
        pages = {"table8.md", "pr_curves.png", "worst.png"}
        assert files == {"model.onnx", "detector.json", "manifest.json", *pages}, "no pickle is published"
        assert manifest.metrics["agreement"]["score"] < 1e-4, "the run-time path is not the trainer's own"
        assert manifest.metrics["agreement"]["edge_px"] < 0.01
        assert set(manifest.metrics["regions"]) == {*classes, "overall"}
        assert (manifest.metrics["train_images"], manifest.metrics["val_images"]) == (11, 4)
        assert manifest.metrics["trainer"]["epochs"] == 1
        detector = load_detector(str(tmp_path), name)
        assert detector.digest == manifest.metrics["digest"]
        assert detector.spec.classes == classes
        assert len(detector.detect([np.zeros((50, 70), np.uint8)])) == 1

    again = run(_config(tmp_path, boxes, epochs=1, side=64))
    assert again.skipped
    assert again.runs == done.runs
    assert again.facts == done.facts
    assert (again.rows, again.rejects) == (done.rows, done.rejects)


def test_too_many_bad_images_end_the_job_before_training(tmp_path: Path, local_ray: None) -> None:
    boxes = write_archive(tmp_path, train=3, val=2)
    for i in range(3):
        (tmp_path / "images" / f"{i:06d}.png").write_bytes(b"not an image")
    with pytest.raises(TooManyRejects, match=r"3 of 5 exams .*unknown_format"):
        run(_config(tmp_path, boxes, epochs=1, side=64))
    assert not (tmp_path / ROI_DETECTOR).exists()


def test_targets_cannot_be_swapped(tmp_path: Path) -> None:
    config = _config(tmp_path, "unused", 1, 64).with_(roi=TargetConfig(target="bones"))
    with pytest.raises(ConfigError, match=r"roi\.target"):
        run(config)


def test_a_missing_boxes_file_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path, train=1, val=1)
    with pytest.raises(ConfigError, match=r"nothing\.parquet"):
        run(_config(tmp_path, str(tmp_path / "nothing.parquet"), 1, 64))
    assert not (tmp_path / ROI_DETECTOR).exists()


def test_training_asks_no_host_and_leaves_nothing_behind(tmp_path: Path) -> None:
    boxes = write_archive(tmp_path / "archive", train=4, val=2)
    home, work, temporary = (tmp_path / n for n in ("home", "work", "tmp"))
    for folder in (home, work, temporary):
        folder.mkdir()
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("YOLO_", "XDG_", "MPL", "ORT_", "TORCH"))}
    environment = {**kept, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", OFFLINE, str(tmp_path / "archive"), boxes]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work, check=False)
    assert out.returncode == 0, out.stderr
    assert int(out.stdout.split()[-1]) > 100_000
    left = [str(p.relative_to(tmp_path)) for f in (home, work, temporary) for p in f.rglob("*")]
    assert left == [], "neither a cache nor a device id nor a note of a host that was asked for"


@pytest.mark.slow
def test_rectangles_are_learned_and_both_measures_agree(tmp_path: Path) -> None:
    boxes = write_archive(tmp_path, train=160, val=40)
    done = run(_config(tmp_path, boxes, epochs=20, side=128))
    for prefix, name in (("roi", ROI_DETECTOR), ("bone", BONE_DETECTOR)):
        trainer = storage.published(str(tmp_path), name).metrics["trainer"]
        assert done.facts[f"{prefix}_map50"] > 0.9
        assert done.facts[f"{prefix}_f1"] > 0.9
        assert abs(done.facts[f"{prefix}_map50"] - trainer["map50"]) < 0.05
    spec = json.loads(
        storage.read_bytes(
            storage.join(storage.run_uri(str(tmp_path), BONE_DETECTOR, done.runs[BONE_DETECTOR]), "detector.json")
        )
    )
    assert all(0.01 <= t <= 0.9 for t in spec["score_thresholds"])
