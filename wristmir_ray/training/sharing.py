"""Models whose training hangs on how a batch is shared, among ranks or in parts: what is refused for them."""

import json
from typing import TYPE_CHECKING, Any

from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.training import checkpoint
from wristmir_ray.training.config import StepConfig, WorkersConfig

if TYPE_CHECKING:
    import torch

BEGUN = "begun.json"
"""With how many ranks a run was begun, and the shapes of its model's tensors."""
_CHANCE = ("p", "drop_prob", "prob", "dropout")
"""Attributes of layers that drop units, paths or patches."""


def batch_norms(model: "torch.nn.Module") -> list[str]:
    """Return the names of layers that normalise over the batch; the text tower runs with its stored statistics."""
    import torch

    kind = torch.nn.modules.batchnorm._BatchNorm
    return [n for n, m in model.named_modules() if isinstance(m, kind) and not n.startswith("text.")]


def droppers(model: "torch.nn.Module") -> list[str]:
    """Return the names of layers that drop at random in training; the text tower runs without."""
    return [n for n, m in model.named_modules() if not n.startswith("text.") and _drops(m)]


def _drops(module: "torch.nn.Module") -> bool:
    shares = (getattr(module, name, 0) for name in _CHANCE)
    return any(isinstance(share, (int, float)) and share > 0 for share in shares)


def depends_on_ranks(model: "torch.nn.Module") -> str:
    """Return why another number of ranks is another training of this model, or nothing where it is the same one.

    Statistics of a batch are those of a rank's share, and a rank draws for its share what it drops.
    """
    norms, drops = batch_norms(model), droppers(model)
    said = [f"normalises over a rank's share of the batch ({len(norms)} layers, first {norms[0]})"] if norms else []
    said += [f"drops units at random, rank by rank ({len(drops)} layers, first {drops[0]})"] if drops else []
    return f"the model {' and '.join(said)}" if said else ""


def check_exact(model: "torch.nn.Module", share: int, step: StepConfig) -> None:
    """Raise ConfigError where a means would give another training.

    Batch normalisation sees the statistics of a part instead of those of the share, and a second pass
    moves its running ones twice.

    Args:
        model: the towers.
        share: pairs a rank has of a global batch.
        step: the means.
    """
    norms = batch_norms(model)
    found = f"the model normalises over the batch ({len(norms)} layers, first {norms[0]})" if norms else ""
    if norms and step.micro_batch is not None and step.micro_batch < share:
        raise ConfigError(
            f"step.micro_batch {step.micro_batch} would cut a rank's {share} pairs into parts, but {found}: set "
            "step.micro_batch to null, use more workers or a smaller batch_size, or take a model without it"
        )
    if norms and step.checkpoint_blocks:
        raise ConfigError(f"step.checkpoint_blocks runs blocks twice, but {found}: set it to false")


def check_elastic(model: "torch.nn.Module", workers: WorkersConfig) -> None:
    """Raise ConfigError where ranks may come and go although each number of them is another training."""
    found = depends_on_ranks(model)
    if found and workers.min_workers is not None and workers.min_workers < workers.num_workers:
        raise ConfigError(
            f"workers.min_workers lets ranks come and go, but {found}: each number of ranks is another training of it. "
            "Set workers.min_workers to null, or take a model without such layers"
        )


def begin(model: "torch.nn.Module", workers: WorkersConfig, folder: str) -> None:
    """Note how a run begins; where it has checkpoints already, check that it can go on from them.

    Args:
        model: the towers.
        workers: where the run is to go on.
        folder: of the run.

    Raises:
        ConfigError: the checkpoints are of another architecture, or of another number of ranks where that matters.
    """
    noted = storage.join(folder, BEGUN)
    shapes = checkpoint.shapes(model.state_dict())
    if not storage.list_files(folder, checkpoint.STATE):
        note = {"ranks": workers.num_workers, "shapes": shapes}
        storage.write_bytes(noted, json.dumps(note).encode())
        return
    before = _read(noted, folder)
    unlike = checkpoint.differences(before["shapes"], shapes)
    if unlike:
        raise ConfigError(f"the last checkpoint cannot be continued: {checkpoint.said(unlike)}; {_anew(folder)}")
    found = depends_on_ranks(model)
    if found and before["ranks"] != workers.num_workers:
        raise ConfigError(
            f"this training was begun with {before['ranks']} ranks and is another one with {workers.num_workers}: "
            f"{found}. Set workers.num_workers to {before['ranks']}, or {_anew(folder)}"
        )


def _read(noted: str, folder: str) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads(storage.read_bytes(noted))
    except (FileNotFoundError, ValueError):
        raise ConfigError(f"{noted} was lost or damaged, which says how the run was begun; {_anew(folder)}") from None
    return note


def _anew(folder: str) -> str:
    return f"delete {folder} to train anew"
