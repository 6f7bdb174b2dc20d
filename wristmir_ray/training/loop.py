"""What runs on each Ray Train worker: set up, resume, train, validate, report."""

import json
import math
import tempfile
from functools import partial
from typing import Any

import ray.train
import ray.train.collective
import ray.train.torch
import ray.util

from wristmir_ray import storage
from wristmir_ray.anatomy import Split
from wristmir_ray.errors import ConfigError, TrainingDiverged
from wristmir_ray.models import clip as clips
from wristmir_ray.models.start import starting_digest
from wristmir_ray.schemas import CAPTIONS
from wristmir_ray.training import checkpoint, events
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.learner import Learner, NonFiniteLoss
from wristmir_ray.training.pairs import COLUMNS, Pairs, open_pairs
from wristmir_ray.training.schedule import num_steps
from wristmir_ray.training.standby import active_ranks, meeting_place, regroup

BAD_BATCH = "nonfinite_batch.json"
"""The pairs of a batch whose loss was no number, by their keys."""


def train_loop(job: dict[str, Any]) -> None:
    """Train on this rank from the last checkpoint to the end; one checkpoint an epoch.

    Args:
        job: `config` (plain data), `captions` (run id of CAPTIONS), `files` (decoded pixels), `start` (digest of the
            files that the driver's model starts from, or empty), `folder` (of the run).

    Raises:
        TrainingDiverged, ConfigError: a fault that another try would meet again; `trainer` makes none.
    """
    import torch

    config = TrainClipConfig(**job["config"])
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, int(config.workers.cpus)))
    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    active = active_ranks(config.batch_size, world)
    if active < world:
        place = ray.train.collective.broadcast_from_rank_zero(meeting_place(ray.util.get_node_ip_address()))
        regroup(active, place, config.workers.collective_timeout_s)
    train, val = _pairs(config, job)
    if rank >= active:
        _stand_by(config, len(train))
        return
    learner = _learner(config, train, val, rank, active, job["start"])
    history = [*_resume(learner, job["folder"]), {**_start(learner), "standing_by": world - active}]
    for epoch in range(learner.next_epoch, learner.epochs):
        steps = _train(learner, epoch, job["folder"])
        figures = {"epoch": epoch, "loss": sum(r["loss"] for r in steps) / len(steps), **learner.validate()}
        rows = [{"kind": "step", **r} for r in steps] + [{"kind": "epoch", **figures}]
        history += rows
        if learner.rank == 0:
            place = storage.join(job["folder"], events.FOLDER, events.file_name(epoch))
            storage.write_bytes(place, events.event_file(rows, int(steps[-1]["step"])))
        _report(learner, figures, history)


def _pairs(config: TrainClipConfig, job: dict[str, Any]) -> tuple[Pairs, Pairs]:
    captions = storage.read_table(config.root, CAPTIONS, job["captions"], COLUMNS)
    train = open_pairs(job["files"], captions, Split.TRAIN, config.regions)
    return train, open_pairs(job["files"], captions, Split.VAL, config.regions, config.validation.max_pairs)


def _stand_by(config: TrainClipConfig, pairs: int) -> None:
    """Report as often as the ranks that train do, since each report waits for every rank; nothing else."""
    total, an_epoch = num_steps(pairs, config.batch_size, config.epochs, config.steps)
    last = ray.train.get_checkpoint()
    done = 0
    if last is not None:
        with last.as_directory() as folder:
            done = sum(row["kind"] == "epoch" for row in checkpoint.read_history(folder))
    for _ in range(done, math.ceil(total / an_epoch)):
        ray.train.report({})


def _learner(config: TrainClipConfig, train: Pairs, val: Pairs, rank: int, world: int, start: str) -> Learner:
    import torch

    torch.manual_seed(config.seed)
    clip = clips.build(config.encoder)
    if starting_digest(clip, config.encoder) != start:
        raise ConfigError(
            f"the files of encoder.model {config.encoder.model} on {ray.util.get_node_ip_address()} are not those of "
            "the node that started the training: put the same ones on every node, or in a place on S3"
        )
    clips.lock(clip, config.trainable.image_blocks, config.trainable.text)
    cuda = config.workers.use_gpu and (config.workers.backend != "gloo" or torch.cuda.is_available())
    device = ray.train.torch.get_device() if cuda else torch.device("cpu")  # Ray may count GPUs that are not there
    wrap = partial(ray.train.torch.prepare_model, move_to_device=device)
    return Learner(config, clip, train, val, wrap, rank, world, str(device))


def _resume(learner: Learner, folder: str) -> list[dict[str, Any]]:
    """Load the last checkpoint where there is one; return the history so far."""
    last = ray.train.get_checkpoint()
    if last is None:
        return []
    try:
        with last.as_directory() as local:
            return checkpoint.restore(local, learner)
    except checkpoint.CheckpointUnfit as e:
        raise ConfigError(f"the last checkpoint cannot be continued: {e}; delete {folder} to train anew") from None


def _start(learner: Learner) -> dict[str, Any]:
    """Return the history's row of this start: how many ranks, what each takes of a global batch."""
    import torch

    return {
        "kind": "start",
        "epoch": learner.next_epoch,
        "ranks": learner.world,
        "pairs_a_rank": learner.config.batch_size // learner.world,
        "device": learner.device.type,
        "backend": torch.distributed.get_backend() if torch.distributed.is_initialized() else None,
    }


def _train(learner: Learner, epoch: int, folder: str) -> list[dict[str, float]]:
    """Train one epoch; a loss that is no number ends the run, and its batch is written down."""
    try:
        return learner.train_epoch(epoch)
    except NonFiniteLoss as e:
        place = storage.join(folder, BAD_BATCH)
        storage.write_bytes(place, json.dumps({"pairs": e.pairs}).encode())
        raise TrainingDiverged(
            f"{e}; all its pairs stand in {place}: look at their crops, or lower optim.lr or optim.clip_norm"
        ) from None


def _report(learner: Learner, figures: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Report an epoch; all ranks wait for each other, rank 0 brings the checkpoint."""
    if learner.rank:
        ray.train.report(figures)
        return
    with tempfile.TemporaryDirectory(prefix="epoch-") as folder:
        checkpoint.write(folder, learner, history)
        name = f"epoch_{figures['epoch']:03d}"
        ray.train.report(figures, checkpoint=ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name)
