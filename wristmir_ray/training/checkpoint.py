"""What a checkpoint of training holds, and whether it fits the model that is to continue."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from wristmir_ray.training.learner import Learner

STATE = "state.pt"
"""Weights, optimiser, position. Rate, order, augmentation and torch's own draws are functions of seed and position."""
HISTORY = "metrics.jsonl"
"""A row a step and an epoch so far, and a row each time that ranks were started."""


class CheckpointUnfit(ValueError):
    """A checkpoint that cannot be continued: of another architecture, or damaged."""


def write(folder: str, learner: "Learner", history: list[dict[str, Any]]) -> None:
    """Write a learner's state and the history so far."""
    import torch

    torch.save(learner.state(), os.path.join(folder, STATE))
    (Path(folder) / HISTORY).write_text("".join(json.dumps(row) + "\n" for row in history))


def restore(folder: str, learner: "Learner") -> list[dict[str, Any]]:
    """Let a learner continue from a checkpoint; return the history so far.

    Raises:
        CheckpointUnfit: its tensors are not those of the learner's model, or it cannot be read.
    """
    state, history = _read(folder, learner.device), read_history(folder)
    unlike = differences(shapes(state["model"]), shapes(learner.model.state_dict()))
    if unlike:
        raise CheckpointUnfit(said(unlike))
    learner.load_state(state)
    return history


def weights(folder: str) -> dict[str, Any]:
    """Return a checkpoint's model state, on the CPU; CheckpointUnfit where it cannot be read."""
    model: dict[str, Any] = _read(folder, "cpu")["model"]
    return model


def read_history(folder: str) -> list[dict[str, Any]]:
    """Return a checkpoint's rows; CheckpointUnfit where they cannot be read."""
    try:
        return [json.loads(line) for line in (Path(folder) / HISTORY).read_text().splitlines()]
    except ValueError as e:
        raise CheckpointUnfit(f"it is damaged ({type(e).__name__} in {HISTORY})") from None


def shapes(state: dict[str, Any]) -> dict[str, list[int]]:
    """Return the shape of each tensor of a model's state."""
    return {name: list(tensor.shape) for name, tensor in state.items()}


def differences(stored: dict[str, list[int]], wanted: dict[str, list[int]]) -> list[str]:
    """Return a line for each tensor that only one of two models has, or that has another shape."""
    found = []
    for name in sorted(stored.keys() | wanted.keys()):
        of = [f"{tuple(s[name])}" if name in s else "none" for s in (stored, wanted)]
        if of[0] != of[1]:
            found.append(f"{name}: {of[0]} stored, {of[1]} wanted")
    return found


def said(unlike: list[str]) -> str:
    """Return what these differences mean."""
    return f"it holds another architecture: {len(unlike)} tensors differ, first {unlike[0]}"


def _read(folder: str, device: "torch.device | str") -> dict[str, Any]:
    import torch

    try:
        state: dict[str, Any] = torch.load(os.path.join(folder, STATE), map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as e:  # torch tells a cut file in several ways
        raise CheckpointUnfit(f"it is damaged ({type(e).__name__} in {STATE})") from None
    if not {"model", "optimizer", "next_epoch"} <= state.keys():
        raise CheckpointUnfit(f"it is no checkpoint of training: {STATE} holds {sorted(state)}")
    return state
