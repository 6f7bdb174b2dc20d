"""What runs on each Ray Train worker: set up, resume, train, validate, report."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch

from wristmir_ray import storage
from wristmir_ray.anatomy import Split
from wristmir_ray.models import clip as clips
from wristmir_ray.schemas import CAPTIONS
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.learner import Learner
from wristmir_ray.training.pairs import COLUMNS, open_pairs

STATE = "state.pt"
HISTORY = "metrics.jsonl"


def train_loop(job: dict[str, Any]) -> None:
    """Train on this rank from the last checkpoint to the end; one checkpoint an epoch.

    Args:
        job: `config` (plain data), `captions` (run id of CAPTIONS), `files` (decoded pixels).
    """
    import torch

    config = TrainClipConfig(**job["config"])
    if not config.workers.use_gpu:
        torch.set_num_threads(max(1, int(config.workers.cpus)))
    context = ray.train.get_context()
    captions = storage.read_table(config.root, CAPTIONS, job["captions"], COLUMNS)
    regions = config.regions
    train = open_pairs(job["files"], captions, Split.TRAIN, regions)
    val = open_pairs(job["files"], captions, Split.VAL, regions, config.validation.max_pairs)
    torch.manual_seed(config.seed)
    clip = clips.build(config.encoder)
    clips.lock(clip, config.trainable.image_blocks, config.trainable.text)
    learner = Learner(
        config,
        clip,
        train,
        val,
        ray.train.torch.prepare_model,
        context.get_world_rank(),
        context.get_world_size(),
        str(ray.train.torch.get_device()),
    )
    history = _resume(learner)
    for epoch in range(learner.next_epoch, learner.epochs):
        steps = learner.train_epoch(epoch)
        figures = {"epoch": epoch, "loss": sum(r["loss"] for r in steps) / len(steps), **learner.validate()}
        history += [{"kind": "step", **r} for r in steps] + [{"kind": "epoch", **figures}]
        _report(learner, figures, history)


def _resume(learner: Learner) -> list[dict[str, Any]]:
    """Load the last checkpoint where there is one; return the history so far."""
    import torch

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        learner.load_state(torch.load(os.path.join(folder, STATE), map_location=learner.device, weights_only=True))
        lines = (Path(folder) / HISTORY).read_text().splitlines()
    return [json.loads(line) for line in lines]


def _report(learner: Learner, figures: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Report an epoch; all ranks wait for each other, rank 0 brings the checkpoint."""
    import torch

    if learner.rank:
        ray.train.report(figures)
        return
    with tempfile.TemporaryDirectory(prefix="epoch-") as folder:
        torch.save(learner.state(), os.path.join(folder, STATE))
        (Path(folder) / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history))
        name = f"epoch_{figures['epoch']:03d}"
        ray.train.report(figures, checkpoint=ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)
