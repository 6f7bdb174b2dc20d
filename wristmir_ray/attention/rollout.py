"""How attention matrices and feature maps become a map over the image: pure functions of tensors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def attention_rollout(attention_BHNN: "Sequence[Tensor]", residual: float = 0.5) -> "Tensor":
    """Return how much of each input token is in each output token, (B, N, N): attention rollout.

        A_l = r I + (1 - r) mean_h attention_l,   R = A_L ... A_2 A_1

    A row of each attention sums to one, so a row of each A_l does and a row of R does.

    Args:
        attention_BHNN: (B, H, N, N) of each layer, first layer first; rows sum to one.
        residual: share of the skip connection.

    References:
        Abnar & Zuidema, Quantifying attention flow in transformers, ACL 2020.
    """
    import torch

    first = attention_BHNN[0]
    own_NN = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    flow_BNN = own_NN.expand(len(first), -1, -1)
    for layer in attention_BHNN:
        mixed_BNN = residual * own_NN + (1 - residual) * layer.mean(1)
        flow_BNN = mixed_BNN / mixed_BNN.sum(-1, keepdim=True) @ flow_BNN
    return flow_BNN


def gradient_rollout(attention_BHNN: "Sequence[Tensor]", gradient_BHNN: "Sequence[Tensor]") -> "Tensor":
    """Return how much each input token raises the score through each output token, (B, N, N), >= 0.

        R_0 = I,   R_l = R_(l-1) + mean_h max(0, dscore/dattention_l * attention_l) R_(l-1)

    Args:
        attention_BHNN: (B, H, N, N) of each layer, first layer first.
        gradient_BHNN: of the score with respect to each.

    References:
        Chefer et al., Generic attention-model explainability, ICCV 2021, Eq. 5 and 6.
    """
    import torch

    first = attention_BHNN[0]
    flow_BNN = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device).expand(len(first), -1, -1)
    for layer, slope in zip(attention_BHNN, gradient_BHNN, strict=True):
        flow_BNN = flow_BNN + (layer * slope).clamp(min=0).mean(1) @ flow_BNN
    return flow_BNN


def hires_cam(features_BCHW: "Tensor", gradient_BCHW: "Tensor") -> "Tensor":
    """Return each place's part in the score, (B, H, W), signed: the sum over channels of gradient times feature.

    Behind a mean over places and a linear layer this is CAM, and its sum over places is the score without the
    layer's bias.

    Args:
        features_BCHW: a convolutional network's feature map.
        gradient_BCHW: of the score with respect to it.

    References:
        Draelos & Carin, Use HiResCAM instead of Grad-CAM, 2020, Eq. 3.
    """
    return (features_BCHW * gradient_BCHW).sum(1)
