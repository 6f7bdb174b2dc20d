"""A small ablation through the real jobs: every variant with every figure; the second time nothing is done."""

import json
from pathlib import Path

import pytest

from tests.conftest import REPO
from wristmir_ray.demo.ablation import DATA, TABLE, VARIANTS, run
from wristmir_ray.demo.ablation_table import NOTES
from wristmir_ray.demo.config import AblationConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = {
    "ingest": {"split.val_share": "0.2"},
    "train_detector": {
        "train_images": "100",
        "val_images": "20",
        "roi.stop_map50": "0.7",
        "bones.stop_map50": "0.6",
        "bones.image_size": "192",
    },
    "preprocess": {"regions.present": "0", "regions.certain": "0"},  # such detectors are sure of nothing
    "train_clip": {"batch_size": "32", "optim.warmup_steps": "0"},
    "evaluate": {"resamples": "100", "pool": "20"},
}


@pytest.mark.usefixtures("local_ray")
def test_every_variant_is_trained_once_and_tabulated(tmp_path: Path) -> None:
    config = AblationConfig(
        root=str(tmp_path), exams=200, seeds=[3], epochs=1, overrides=SMALL, ray={"progress": False}
    )
    assert not run(config, REPO / "jobs").skipped
    table = json.loads((tmp_path / DATA).read_text())
    assert list(table["variants"]) == [v.name for v in VARIANTS]
    assert all(v["figures"].keys() == NOTES.keys() for v in table["variants"].values())
    runs = {r["variant"]: r for r in table["runs"]}
    base, epochs, steps = (runs[n] for n in ("multi_positive", "global_only_epochs", "global_only_steps"))
    assert epochs["steps"] < base["steps"] == steps["steps"]
    assert epochs["train_pairs"] == steps["train_pairs"] < base["train_pairs"] == runs["frozen_text"]["train_pairs"]
    assert len({r["encoder"] for r in table["runs"]}) == len(VARIANTS)
    page = (tmp_path / TABLE).read_text()
    again = run(config, REPO / "jobs")
    assert again.skipped
    assert (tmp_path / TABLE).read_text() == page
