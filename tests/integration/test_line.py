"""The whole line on a tiny archive: every job as the demo runs it, twice; and killed at half."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPO
from wristmir_ray import storage
from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.demo.line import STEPS, run_step
from wristmir_ray.demo.report import write_report
from wristmir_ray.demo.sealed import score_sealed
from wristmir_ray.errors import NotPublished
from wristmir_ray.evaluation.archive import load
from wristmir_ray.evaluation.hits import MODES, from_table
from wristmir_ray.evaluation.retrieval import evaluate_bones
from wristmir_ray.job import Summary
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, FINDINGS, HITS, REGIONS, REPORTS

pytestmark = pytest.mark.ray

JOBS = REPO / "jobs"
EXAMS_MADE = 240


def _config(root: Path) -> DemoConfig:
    """A line of a few minutes: the detectors stop as soon as they find most bones, CLIP takes a few steps."""
    return DemoConfig(
        root=str(root),
        exams=EXAMS_MADE,
        sealed_reports=100,
        seed=5,
        ray={"progress": False},
        overrides={
            "ingest": {"split.val_share": "0.2"},
            "train_detector": {
                "train_images": "120",
                "val_images": "30",
                "roi.stop_map50": "0.7",
                "bones.stop_map50": "0.6",
                "bones.image_size": "192",
            },
            "preprocess": {"regions.present": "0", "regions.certain": "0"},  # such detectors are sure of nothing
            "train_clip": {"steps": "20", "batch_size": "64", "optim.warmup_steps": "2"},
            "evaluate": {"resamples": "100", "pool": "20"},
        },
    )


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[DemoConfig, dict[str, Summary]]:
    relative = os.path.relpath(tmp_path_factory.mktemp("line"))  # as the demo's own root, where workers run elsewhere
    config = _config(Path(relative))
    return config, {step.name: run_step(step, config, JOBS) for step in STEPS}


def test_every_row_arrives(line: tuple[DemoConfig, dict[str, Summary]]) -> None:
    config, steps = line
    root = config.archive
    exams = storage.read_table(root, EXAMS)
    assert exams.num_rows == EXAMS_MADE
    assert set(exams["format"].to_pylist()) == {"dicom", "png"}
    assert storage.read_table(root, FINDINGS, good_only=False).num_rows == storage.read_table(root, REPORTS).num_rows
    for table in (CAPTIONS, REGIONS, CROPS):
        assert storage.read_table(root, table, good_only=False).num_rows == EXAMS_MADE * 4
    assert steps["train_detector"].facts["roi_map50"] >= 0.7
    assert steps["train_detector"].facts["bone_map50"] >= 0.6
    assert len({r["patient_id"]: r["split"] for r in exams.to_pylist()}) == len(
        {(r["patient_id"], r["split"]) for r in exams.to_pylist()}
    ), "a patient stands in two splits"


def test_the_second_time_nothing_is_done(line: tuple[DemoConfig, dict[str, Summary]]) -> None:
    config, first = line
    for step in STEPS:
        again = run_step(step, config, JOBS)
        assert again.skipped, step.name
        assert again.runs == first[step.name].runs


def test_the_report_shows_what_was_found(line: tuple[DemoConfig, dict[str, Summary]], tmp_path: Path) -> None:
    config, steps = line
    summary = {"exams": EXAMS_MADE, "seed": 5, "wall_s": 1.0, "cpu_s": 1.0, "peak_gib": 1.0, "findings_micro_f1": 0.9}
    summary |= {"roi_map50": 0.9, "bone_map50": 0.9, "findings_by_field": {"healing": 0.9}}
    extra = {"flow": [], "places": [], "real": [], "real_note": ""}
    write_report(config.archive, tmp_path / "report.html", {**summary, "retrieval": steps["evaluate"].facts}, extra)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") >= 3 * 2 + 3 * 2 * 10
    assert page.count("<mark") >= 3
    words = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", page)
    assert "http" not in words.replace("http://www.w3.org", ""), "the page must stand alone"


def test_sealed_reports_are_scored(line: tuple[DemoConfig, dict[str, Summary]]) -> None:
    score = score_sealed(line[0])
    assert score["reports"] == 100
    assert 0.8 < score["f1"] <= 1.0


def test_on_phantoms_with_shuffled_labels_every_figure_falls_to_chance(
    line: tuple[DemoConfig, dict[str, Summary]],
) -> None:
    """The trained encoder's own hits, judged by labels that were dealt out anew among the exams."""
    root = line[0].archive
    inputs = storage.published(root, "evaluation").inputs
    archive = load(root, {n: inputs[n] for n in ("exams", "captions", "embeddings")}, load_encoder(root).dim)
    queries = archive.gallery("test")
    rankings = from_table(storage.read_table(root, HITS, inputs["hits"]), archive, queries, 10)
    inside = []
    for seed in range(8):
        dealt = np.random.default_rng(seed).permutation(len(archive.exam_ids))
        labels = {name: {r: v[dealt] for r, v in getattr(archive, name).items()} for name in ("present", "classes")}
        blind = evaluate_bones(replace(archive, **labels), queries, rankings, 20, 100, 40, seed)
        inside += [
            level["low"] <= own[name]["value"] <= level["high"]
            for region in blind["regions"].values()
            for own in (region[mode] for mode in MODES.values())
            for name, level in own["chance"].items()
            if level["n"]
        ]
    assert len(inside) > 400
    assert np.mean(inside) > 0.85


@pytest.mark.fault
@pytest.mark.parametrize("name", [pytest.param("ingest", marks=pytest.mark.slow), "preprocess"])
def test_kill_9_at_half_resumes_to_an_equal_table(
    line: tuple[DemoConfig, dict[str, Summary]], tmp_path: Path, name: str
) -> None:
    """The job as a user types it is killed; started again it resumes, and its tables equal the line's."""
    config, _ = line
    table = {"ingest": EXAMS, "preprocess": CROPS}[name]
    root = tmp_path / "archive"
    argv = _arguments(config, name, root)
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 240
    while len(list((root / "_work").rglob("*.parquet"))) < 4 and time.monotonic() < deadline:
        assert process.poll() is None, "the job ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(NotPublished):
        storage.published(str(root), table.name)
    out = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr[-2000:]
    resumed = int(out.stdout.split("resumed ")[1].split(")")[0])
    print(json.dumps({"job": name, "resumed_rows": resumed, "recomputed_share": round(1 - resumed / EXAMS_MADE, 3)}))
    assert 0 < resumed < EXAMS_MADE
    ours = storage.read_table(str(root), table, good_only=False)
    assert ours.equals(storage.read_table(config.archive, table, good_only=False))


def _arguments(config: DemoConfig, name: str, root: Path) -> list[str]:
    step = next(s for s in STEPS if s.name == name)
    settings = {**step.settings(config), **config.overrides.get(name, {}), "root": str(root), "fragment_rows": "8"}
    if name == "preprocess":
        for table in ("exams",):
            _link(Path(config.archive) / table, root / table)
        settings |= {"detectors": config.archive, "max_reject_share": "1"}  # its detectors saw little: bones are missed
    pairs = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    return [sys.executable, str(JOBS / f"{name}.py"), *pairs]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source, target_is_directory=True)
