"""The paper's YAML as written: four ranks with a GPU each, 2,048 pairs a step. The GPUs are only counted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.training_job import history, tiny_vit
from tests.unit.training import toy
from wristmir_ray.training.pairs import epoch_order

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_the_papers_yaml_is_placed_on_four_gpus_and_shares_its_batch(tmp_path: Path) -> None:
    """Other than the YAML's are only the model, which is tiny, its two steps, the labels, and gloo for NCCL."""
    toy.publish(tmp_path, exams=860)
    settings = ["--encoder.model", tiny_vit(tmp_path / "model"), "--encoder.init", "random"]
    settings += ["--trainable.image_blocks", "1", "--epochs", "2", "--optim.warmup_steps", "1"]
    settings += ["--workers.backend", "gloo", "--workers.label_selector", '{"pool": "gpu"}', "--ray.progress", "false"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.four_gpus", str(tmp_path), *settings],
        env={
            **{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
            "RAY_worker_niceness": "0",
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / "placed" / f"{rank}.json").read_text()) for rank in range(4)]
    assert [(r["world"], r["pool"], r["cpus"], len(r["gpus"])) for r in ranks] == [(4, "gpu", 4, 1)] * 4
    assert {int(gpu) for r in ranks for gpu in r["gpus"]} == {0, 1, 2, 3}
    assert {len(r["read"]) for r in ranks} == {2 * 512}
    (pairs,) = {r["pairs"] for r in ranks}
    for epoch in range(2):
        (batch,) = epoch_order(pairs, 2048, seed=0, epoch=epoch)
        assert [i for r in ranks for i in r["read"][512 * epoch : 512 * (epoch + 1)]] == batch.tolist()
    rows = history(tmp_path, done.stdout.split()[-1])
    (started,) = [r for r in rows if r["kind"] == "start"]
    assert (started["ranks"], started["pairs_a_rank"], started["device"]) == (4, 512, "cpu")
    assert [(r["step"], r["lr"]) for r in rows if r["kind"] == "step"] == [(0, 1e-5), (1, 1e-5)]
