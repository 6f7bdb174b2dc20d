"""Ray Train's part: start the ranks, restart them from the last checkpoint when one dies, give back the best."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from wristmir_ray import storage
from wristmir_ray.errors import WristmirError
from wristmir_ray.training.config import TrainClipConfig, WorkersConfig
from wristmir_ray.training.learner import NonFiniteLoss
from wristmir_ray.training.loop import HISTORY, STATE, train_loop


@dataclass(frozen=True)
class Trained:
    """What training gave."""

    state: dict[str, Any]
    """The model's state dict with the best score."""
    best: dict[str, Any]
    """That epoch's figures."""
    last: dict[str, Any]
    """The last epoch's figures."""
    history: list[dict[str, Any]]
    """A row a step and a row an epoch, in order."""


def fit(config: TrainClipConfig, run_id: str, folder: str, captions: str, files: list[str]) -> Trained:
    """Train to the end. The same run id in the same folder continues where it stopped.

    Args:
        config: the job's.
        run_id: names the run; it stands for settings, data and code.
        folder: where Ray Train keeps checkpoints: the best and the last.
        captions: run id of CAPTIONS.
        files: the decoded pixels.

    Raises:
        WristmirError: the ranks failed more often than `max_failures`.
    """
    fs, path = storage.filesystem(folder)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"config": config.resolved(), "captions": captions, "files": files},
        torch_config=TorchConfig(
            backend="nccl" if config.workers.use_gpu else "gloo", timeout_s=config.workers.collective_timeout_s
        ),
        scaling_config=_scaling(config.workers),
        run_config=RunConfig(
            name=run_id,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=FailureConfig(max_failures=config.workers.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as e:
        raise WristmirError(f"training failed: {_cause(e)}") from e
    best, _ = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    history = _history(result.checkpoint)
    epochs = [row for row in history if row["kind"] == "epoch"]
    state, figures = _load(best)
    return Trained(state, figures, epochs[-1], history)


def _scaling(workers: WorkersConfig) -> ScalingConfig:
    gpu = {"GPU": 1.0} if workers.use_gpu else {}
    return ScalingConfig(
        num_workers=workers.num_workers,
        use_gpu=workers.use_gpu,
        resources_per_worker={"CPU": workers.cpus, **gpu},
        label_selector=workers.label_selector or None,
    )


def _history(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    with checkpoint.as_directory() as folder:
        return [json.loads(line) for line in (Path(folder) / HISTORY).read_text().splitlines()]


def _load(checkpoint: Checkpoint) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a checkpoint's weights and the figures of its epoch."""
    import torch

    with checkpoint.as_directory() as folder:
        state = torch.load(os.path.join(folder, STATE), map_location="cpu", weights_only=True)["model"]
    return state, _history(checkpoint)[-1]


def _cause(error: BaseException) -> str:
    """Name what went wrong on a rank by type; our own messages, which hold no paths, are quoted."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    first = next(iter(failures.values()))
    if isinstance(first, NonFiniteLoss):
        return str(first)
    return f"{type(first).__name__} on {len(failures)} rank(s); Ray's log of the run holds the traceback"
