"""Ray Train's part: start the ranks, restart them from the last checkpoint when one dies, give back the best."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state as cluster  # the only place that tells how far a cluster may grow
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from wristmir_ray import storage
from wristmir_ray.errors import ConfigError, StoreFailed, WristmirError
from wristmir_ray.schemas import CAPTIONS
from wristmir_ray.training import checkpoint
from wristmir_ray.training.artifacts import Origin
from wristmir_ray.training.config import TrainClipConfig, WorkersConfig
from wristmir_ray.training.loop import train_loop

log = logging.getLogger(__name__)

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
ELASTIC_START_TIMEOUT_S = 60
"""After it an elastic run counts the nodes anew: one that was just lost is counted until it is known to be."""


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
    """A row a step, an epoch and a start of the ranks, in order."""


class EndAtOnce(UserCallback):  # type: ignore[misc]
    """Ends a run whose error is our own: another try would meet it again, and FailureConfig only counts."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        """Raise the first such error, which is final in the controller. A store may come back: it is tried again."""
        for error in worker_exceptions.values():
            if isinstance(error, WristmirError) and not isinstance(error, StoreFailed):
                raise error


def fit(config: TrainClipConfig, origin: Origin, folder: str, files: list[str]) -> Trained:
    """Train to the end. The same run id in the same folder continues where it stopped.

    Args:
        config: the job's.
        origin: its run id, which stands for settings, data and code; tables; and what the model starts from.
        folder: where Ray Train keeps checkpoints: the best and the last.
        files: the decoded pixels.

    Raises:
        ConfigError, TrainingDiverged: a rank met what another try would meet again.
        WristmirError: the ranks failed more often than `max_failures`.
    """
    own = storage.join(folder, origin.run_id)
    made_from = {"captions": origin.inputs[CAPTIONS.name], "files": files, "start": origin.start}
    job = {"config": config.resolved(), **made_from, "folder": own}
    try:
        result = torch_trainer(config, origin.run_id, folder, train_loop, job).fit()
    except TrainingFailedError as e:
        failed = e.controller_failure if isinstance(e, ControllerError) else e
        if isinstance(failed, WristmirError):
            raise failed from None
        raise WristmirError(f"training failed: {_cause(failed)}; what is done is kept, a rerun resumes") from e
    try:
        return _trained(result)
    except checkpoint.CheckpointUnfit as e:
        raise ConfigError(f"the best checkpoint cannot be read: {e}; delete {own} to train anew") from None


def _trained(result: Any) -> Trained:
    best, _ = max(result.best_checkpoints, key=lambda pair: pair[1]["score"])
    history = _read(result.checkpoint, checkpoint.read_history)
    epochs = [row for row in history if row["kind"] == "epoch"]
    return Trained(_read(best, checkpoint.weights), _read(best, checkpoint.read_history)[-1], epochs[-1], history)


def torch_trainer(
    config: TrainClipConfig, run_id: str, folder: str, loop: Callable[[dict[str, Any]], None], job: dict[str, Any]
) -> TorchTrainer:
    """Return the trainer of a run, its ranks placed as `config.workers` says.

    Args:
        config, folder: as of `fit`.
        run_id: names the run.
        loop: what each rank runs.
        job: its argument.
    """
    workers = config.workers
    fs, path = storage.filesystem(folder)
    elastic = workers.min_workers is not None
    timeout_s = min(workers.start_timeout_s, ELASTIC_START_TIMEOUT_S) if elastic else workers.start_timeout_s
    os.environ[START_TIMEOUT] = str(timeout_s)  # Ray Train has no other way to be told
    return TorchTrainer(
        loop,
        train_loop_config=job,
        torch_config=TorchConfig(
            backend=workers.backend or ("nccl" if workers.use_gpu else "gloo"), timeout_s=workers.collective_timeout_s
        ),
        scaling_config=_scaling(workers),
        run_config=RunConfig(
            name=run_id,
            storage_path=path,
            storage_filesystem=fs,
            failure_config=FailureConfig(
                max_failures=workers.max_failures, controller_failure_limit=-1 if elastic else workers.max_failures
            ),
            checkpoint_config=CheckpointConfig(
                num_to_keep=1, checkpoint_score_attribute="score", checkpoint_score_order="max"
            ),  # the best; Ray Train never deletes the last
            callbacks=[EndAtOnce()],
        ),
    )


def check_placeable(workers: WorkersConfig) -> None:
    """Refuse, before any work, ranks for which there will never be room.

    A Ray that was started for this run does not grow; a cluster at RAY_ADDRESS may, up to what its
    autoscaler declares, where it does.

    Raises:
        ConfigError: fewer ranks fit than are needed.
    """
    need, least = workers.resources(), workers.min_workers or workers.num_workers
    nodes = [n for n in ray.nodes() if n["Alive"] and _has_labels(n["Labels"], workers.label_selector)]
    room = sum(_fitting(node["Resources"], need) for node in nodes)
    if room >= least:
        return
    most = cluster.get_max_resources_from_cluster_config() if "RAY_ADDRESS" in os.environ else {}
    if most is None or _fitting(most, need) >= least:
        log.warning("waiting for nodes", extra={"fields": {"ranks": least, "room": room}})
        return
    asked = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
    labelled = f" on nodes labelled {workers.label_selector}" if workers.label_selector else ""
    ever = max(room, _fitting(most, need))
    raise ConfigError(
        f"{least} ranks of {asked} each{labelled} cannot be placed: there is room for {ever}; "
        "lower workers.num_workers or workers.cpus, or run on a larger cluster (RAY_ADDRESS)"
    )


def _fitting(resources: dict[str, float], need: dict[str, float]) -> int:
    """Return how many ranks fit into these resources."""
    return int(min(resources.get(name, 0.0) // amount for name, amount in need.items()))


def _has_labels(labels: dict[str, str], selector: dict[str, str]) -> bool:
    """Return whether a node may be meant; only plain equality is judged here, `!` and `in()` are Ray's."""
    plain = {k: v for k, v in selector.items() if not v.startswith(("!", "in("))}
    return all(labels.get(k) == v for k, v in plain.items())


def _scaling(workers: WorkersConfig) -> ScalingConfig:
    elastic = workers.min_workers is not None
    return ScalingConfig(
        num_workers=(workers.min_workers, workers.num_workers) if elastic else workers.num_workers,
        use_gpu=workers.use_gpu,
        resources_per_worker=workers.resources(),
        label_selector=workers.label_selector or None,
        elastic_resize_monitor_interval_s=workers.resize_check_s,
    )


def _read(kept: Checkpoint, read: Callable[[str], Any]) -> Any:
    with kept.as_directory() as folder:
        return read(folder)


def _cause(error: BaseException) -> str:
    """Name what went wrong on the ranks by type: only our own messages are known to hold nothing confidential."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    first = next(iter(failures.values()))
    if isinstance(first, WristmirError):
        return str(first)
    return f"{type(first).__name__} on {len(failures)} rank(s); Ray's log of the run holds the traceback"
