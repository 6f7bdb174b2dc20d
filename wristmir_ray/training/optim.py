"""The optimiser and its update: AdamW on what is trained, the gradient clipped, the temperature bounded (App. C)."""

from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.training.config import OptimConfig

if TYPE_CHECKING:
    import torch


def optimizer(model: "torch.nn.Module", config: OptimConfig, fused: bool = True) -> "torch.optim.AdamW":
    """Return AdamW over the trainable parameters; only matrices decay."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=fused)


def update(model: Any, optim: "torch.optim.AdamW", lr: float, config: OptimConfig) -> float:
    """Clip the gradient, take one step at rate `lr`, bound the temperature; return the gradient's norm.

    A norm that is no finite number is returned as it is, and nothing is changed.

    `model` is the open_clip model itself, not its wrapper.
    """
    import torch

    norm = float(torch.nn.utils.clip_grad_norm_((p for p in model.parameters() if p.requires_grad), config.clip_norm))
    if np.isfinite(norm):
        for group in optim.param_groups:
            group["lr"] = lr
        optim.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, float(np.log(config.max_scale)))
    optim.zero_grad(set_to_none=True)
    return norm
