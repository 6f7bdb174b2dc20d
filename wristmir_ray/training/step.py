"""One optimiser step over the global batch: gather, loss, clip, update. Pure torch, any number of ranks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.training.config import OptimConfig
from wristmir_ray.training.loss import gather, multi_positive_loss

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


def global_loss(
    towers: Callable[..., Any],
    images: "torch.Tensor",
    tokens_of: Callable[[np.ndarray], "torch.Tensor"],
    caption_B: np.ndarray,
    rank: int = 0,
    world: int = 1,
) -> "torch.Tensor":
    """Return the loss of the global batch, equal on every rank.

    The text tower sees every distinct caption of the global batch once, shared among the ranks; image
    and text features are gathered with gradients, and each rank computes the whole loss. Its gradient
    reaches a rank's features W times (once from each rank's copy), and DistributedDataParallel takes
    the mean over ranks: the result is the gradient of one process with the whole batch.

    Args:
        towers: (images, tokens) -> (image features, text features, 1 / temperature).
        images: (B / W, 3, H, W) of this rank.
        tokens_of: caption indices -> token ids.
        caption_B: (B,) caption indices of the whole global batch, rank by rank.
        rank, world: this rank and the number of ranks.
    """
    import torch

    all_U, mine, index_B = distinct_captions(caption_B, rank, world)
    image_bD, text_uD, scale = towers(images, tokens_of(mine))
    image_BD, text_UD = gather(_at_least_fp32(image_bD)), gather(_at_least_fp32(text_uD))[: len(all_U)]
    return multi_positive_loss(image_BD, text_UD, torch.from_numpy(index_B).to(image_BD.device), _at_least_fp32(scale))


def _at_least_fp32(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    return x.to(torch.promote_types(x.dtype, torch.float32))


def optimizer(model: "torch.nn.Module", config: OptimConfig) -> "torch.optim.AdamW":
    """Return AdamW over the trainable parameters; only matrices decay."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def update(model: Any, optim: "torch.optim.AdamW", lr: float, config: OptimConfig) -> float:
    """Clip the gradient, take one step at rate `lr`, bound the temperature; return the gradient's norm.

    `model` is the open_clip model itself, not its wrapper.
    """
    import torch

    norm = torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), config.clip_norm)
    for group in optim.param_groups:
        group["lr"] = lr
    optim.step()
    optim.zero_grad(set_to_none=True)
    with torch.no_grad():
        model.logit_scale.clamp_(0, float(np.log(config.max_scale)))
    return float(norm)
