"""The gradient of one global batch: encode, gather, loss, backward. Pure torch, any number of ranks.

The loss needs the features of the whole global batch; the towers need not. So a step has two halves:
the towers give features, whose gradients are computed from the loss alone; then each rank carries the
gradients of its own features back through the towers. Where a rank's share does not fit into memory at
once, the first half keeps no graph, and the second encodes again, part by part (GradCache,
Gao et al. 2021): the gradients are those of the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.training.loss import gather

if TYPE_CHECKING:
    import torch


def distinct_captions(caption_B: np.ndarray, rank: int, world: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share the global batch's distinct captions among the ranks.

    Returns:
        all_U: the distinct captions, sorted, the same on every rank.
        mine: the part that `rank` encodes; ceil(U / W) on each, filled up with the first caption.
        index_B: (B,) for each pair of the batch its caption's place in `all_U`.
    """
    all_U, index_B = np.unique(caption_B, return_inverse=True)
    share = -(-len(all_U) // world)
    filled = np.concatenate([all_U, np.repeat(all_U[:1], share * world - len(all_U))])
    return all_U, filled[rank * share : (rank + 1) * share], index_B.astype(np.int64)


class Towers:
    """A model (or its wrapper for gradients across ranks) as the step calls it.

    Args:
        model: (images or None, tokens or None) -> (image features, text features, 1 / temperature).
        device: where it runs.
        bf16: whether it runs under bfloat16 autocast.
    """

    def __init__(self, model: Any, device: str = "cpu", bf16: bool = False) -> None:
        self.model, self.device, self.bf16 = model, device, bf16

    def __call__(self, images: "torch.Tensor | None", tokens: "torch.Tensor | None") -> Any:
        import torch

        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            return self.model(images, tokens)

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        """Sum gradients on this rank until the last part, whose backward takes the mean over ranks."""
        if last or not hasattr(self.model, "no_sync"):
            yield
        else:
            with self.model.no_sync():
                yield


@dataclass(frozen=True)
class Forward:
    """The first half of a step."""

    loss: float
    """Of the global batch, in nats, equal on every rank."""
    backward: Callable[[], None]
    """The second half: adds the global batch's gradient, after the mean over ranks, to the parameters."""


LossOf = Callable[["torch.Tensor", "torch.Tensor | None", "torch.Tensor"], "torch.Tensor"]


def forward(
    towers: Towers,
    images: "torch.Tensor",
    tokens: "torch.Tensor | None",
    loss_of: LossOf,
    rank: int = 0,
    world: int = 1,
    micro_batch: int | None = None,
) -> Forward:
    """Encode this rank's share and compute the loss of the global batch.

    Each rank computes the whole loss. The gradient of its own features, times W, goes back through its
    towers: DistributedDataParallel takes the mean over ranks, and the sum over ranks is what one
    process with the whole batch has.

    Args:
        towers: the model.
        images: (B / W, 3, H, W) of this rank.
        tokens: (u, L) of this rank; None: the loss brings its own text features.
        loss_of: (image features of all ranks, text features of all ranks or None, 1 / temperature) -> loss.
        rank, world: this rank and the number of ranks.
        micro_batch: images, and texts, encoded at a time; None: all at once, and no recomputation.
    """
    parts = _parts(len(images), 0 if tokens is None else len(tokens), micro_batch)
    kept, states = _encode(towers, images, tokens, parts)
    image_BD, text_UD = (_gathered([part[i] for part in kept]) for i in (0, 1))
    assert image_BD is not None
    scale = _at_least_fp32(kept[-1][2].detach()).requires_grad_()
    loss = loss_of(image_BD, text_UD, scale)

    def backward() -> None:
        image_bD, text_uD, of_scale = _gradients(loss, image_BD, text_UD, scale, rank, world)
        for i, (of_images, of_texts) in enumerate(parts):
            last = i + 1 == len(parts)
            with towers.part(last):
                out = kept[0]
                if len(parts) > 1:
                    _chance(images.device, states[i])
                    out = towers(_rows(images, of_images), _rows(tokens, of_texts))
                _carry_back(out, (_rows(image_bD, of_images), _rows(text_uD, of_texts), of_scale if last else None))

    return Forward(float(loss.detach()), backward)


def _encode(
    towers: Towers,
    images: "torch.Tensor",
    tokens: "torch.Tensor | None",
    parts: "list[tuple[slice | None, slice | None]]",
) -> tuple[list[Any], list[Any]]:
    """Return each part's (image features, text features, 1 / temperature), and chance's state before it.

    A single part keeps its graph; several keep none.
    """
    import torch

    kept, states = [], []
    with torch.set_grad_enabled(len(parts) == 1):
        for of_images, of_texts in parts:
            states.append(_chance(images.device))
            kept.append(towers(_rows(images, of_images), _rows(tokens, of_texts)))
    return kept, states


def _gradients(
    loss: "torch.Tensor",
    image_BD: "torch.Tensor",
    text_UD: "torch.Tensor | None",
    scale: "torch.Tensor",
    rank: int,
    world: int,
) -> "tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]":
    """Return the gradients of this rank's features, times W for the mean over ranks to undo, and of the scale."""
    import torch

    features = [image_BD] if text_UD is None else [image_BD, text_UD]
    *grads, of_scale = torch.autograd.grad(loss, [*features, scale])
    mine = [g.chunk(world)[rank] * world for g in grads]
    return mine[0], None if text_UD is None else mine[1], of_scale


def _parts(images: int, texts: int, micro_batch: int | None) -> list[tuple[slice | None, slice | None]]:
    """Cut images and texts; both end with the last part, so that its backward reaches every parameter."""
    size = micro_batch or max(images, texts)
    cut = [[slice(i, i + size) for i in range(0, n, size)] for n in (images, texts)]
    count = max(map(len, cut))
    of_images, of_texts = ([None] * (count - len(c)) + c for c in cut)
    return list(zip(of_images, of_texts, strict=True))


def _rows(x: "torch.Tensor | None", part: slice | None) -> "torch.Tensor | None":
    return None if x is None or part is None else x[part]


def _gathered(parts: "list[torch.Tensor | None]") -> "torch.Tensor | None":
    """Return the features of all parts and ranks, as the loss's own leaf; None where there are none."""
    import torch

    there = [_at_least_fp32(x.detach()) for x in parts if x is not None]
    return gather(torch.cat(there)).requires_grad_() if there else None


def _carry_back(out: "tuple[torch.Tensor | None, ...]", grads: "tuple[torch.Tensor | None, ...]") -> None:
    """Backward through the towers; what is frozen has no graph and is left out."""
    import torch

    pairs = [(x, g.to(x.dtype)) for x, g in zip(out, grads, strict=True) if x is not None and g is not None]
    live = [(x, g) for x, g in pairs if x.requires_grad]
    if live:
        torch.autograd.backward([x for x, _ in live], [g for _, g in live])


def _chance(device: "torch.device", state: Any = None) -> Any:
    """Return the state of the random generators, or set it: a part that is encoded again drops the same units."""
    import torch

    on_gpu = device.type == "cuda"
    if state is None:
        return torch.get_rng_state(), torch.cuda.get_rng_state(device) if on_gpu else None
    torch.set_rng_state(state[0])
    if on_gpu:
        torch.cuda.set_rng_state(state[1], device)
    return state


def _at_least_fp32(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))
