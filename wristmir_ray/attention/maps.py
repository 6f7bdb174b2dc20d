"""Attention maps: where an encoder looks in a radiograph, or what a similarity rests on (WristMIR Figs. 3 and 5).

Array in, array out, without Ray, for jobs and serving alike. A similarity is the product of the image's
vector with a *direction*: a caption's vector, a caption's less another's, another image's.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wristmir_ray.attention.rollout import attention_rollout, gradient_rollout, hires_cam
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.encoder import ClipEncoder, Encoder

if TYPE_CHECKING:
    import torch

FINE_GRID = 7
"""Cells a side of the feature map that Grad-CAM's networks end with; no coarser one is taken where a finer is."""


class Method(StrEnum):
    """How a map is made."""

    ROLLOUT = "rollout"
    """Attention rollout: what a ViT looks at, whatever it is asked."""
    GRADIENT_ROLLOUT = "gradient_rollout"
    """Attention weighted by the similarity's gradient: a ViT, and what it is asked."""
    HIRES_CAM = "hires_cam"
    """Features weighted by the similarity's gradient: a convolutional network."""
    OCCLUSION = "occlusion"
    """What the similarity loses when a place is blurred: any encoder, slowly."""


def direction(encoder: Encoder, caption: str, against: str | None = None) -> np.ndarray:
    """Return float32 (D,) of unit norm: a caption's vector, or the difference from another caption's to it.

    Raises:
        ValueError: both captions have the same vector: nothing tells them apart.
    """
    texts = encoder.encode_texts([caption] if against is None else [caption, against])
    difference = texts[0] - texts[1] if against is not None else texts[0]
    norm = np.linalg.norm(difference)
    if not norm > 0:
        raise ValueError("the caption and the one it is held against have the same vector")
    return np.asarray(difference / norm, np.float32)


def attention_map(
    encoder: ClipEncoder,
    gray: np.ndarray,
    direction_D: np.ndarray,
    method: Method = Method.OCCLUSION,
    window: float = 0.2,
    stride: float = 0.0625,
) -> np.ndarray:
    """Return float32 (S, S) at the encoder's image size.

    Positive where the picture speaks for the direction. Occlusion and HiResCAM are negative where it
    speaks against it; rollout does not depend on the direction.

    Args:
        encoder: the model.
        gray: uint8 square, as in `Encoder.encode_images`.
        direction_D: float32 (D,).
        method: how.
        window, stride: of occlusion, as shares of the side.

    Raises:
        ConfigError: the method does not suit the image tower.
        ValueError: not a grey 8-bit square.
    """
    square = encoder.squares([gray])[0]
    if method is Method.OCCLUSION:
        side = encoder.image_size
        return occlusion(encoder, square, direction_D, max(2, round(window * side)), max(1, round(stride * side)))
    if method is Method.HIRES_CAM:
        grid = _hires_cam(encoder, square, direction_D)
    else:
        grid = _of_vit(encoder, square, direction_D, method is Method.GRADIENT_ROLLOUT)
    size = (encoder.image_size, encoder.image_size)
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR), np.float32)


def occlusion(
    encoder: Encoder, square: np.ndarray, direction_D: np.ndarray, window_px: int, stride_px: int
) -> np.ndarray:
    """Return float32 (S, S): what the similarity loses when the place is blurred.

    Each window is blended into its blurred self with soft edges, which draws no line that was not there:

        drop_w = direction (v(x) - v(x blurred in w)),   map(p) = sum_w m_w(p) drop_w / sum_w m_w(p)

    Args:
        encoder: any.
        square: uint8 (S, S) at its image size.
        direction_D: float32 (D,).
        window_px: side of a window.
        stride_px: from one window to the next.

    References:
        Zeiler & Fergus, Visualizing and understanding convolutional networks, ECCV 2014, §4.2.
    """
    side = len(square)
    blurred = cv2.GaussianBlur(square, (0, 0), window_px / 2).astype(np.float32)
    at = np.arange(0, side + stride_px, stride_px).clip(max=side)
    masks = [soft_window(side, x, y, window_px) for y in at for x in at]
    occluded = [blend(square, blurred, mask) for mask in masks]
    scores = encoder.encode_images([square, *occluded]) @ direction_D
    drops = scores[0] - scores[1:]
    total = np.sum(masks, axis=0)
    return np.asarray(np.tensordot(drops, np.stack(masks), 1) / np.maximum(total, 1e-6), np.float32)


def soft_window(side: int, x_px: float, y_px: float, window_px: float) -> np.ndarray:
    """Return float32 (S, S) in [0, 1]: one at the window's middle, a half at its edges, zero a half beyond."""
    at = np.arange(side) + 0.5

    def profile(middle: float) -> np.ndarray:
        away = np.clip(np.abs(at - middle) / window_px, 0, 1)
        return np.asarray(0.5 + 0.5 * np.cos(np.pi * away), np.float32)

    return np.asarray(profile(y_px)[:, None] * profile(x_px)[None])


def blend(square: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return uint8 (S, S): `square` where the mask is zero, `other` where it is one."""
    return np.asarray(np.rint(square + mask * (other - square.astype(np.float32))), np.uint8)


def _of_vit(encoder: ClipEncoder, square: np.ndarray, direction_D: np.ndarray, asked: bool) -> np.ndarray:
    """Return float32 (h, w) over the patches of a ViT."""
    import torch

    trunk = getattr(encoder.model.visual, "trunk", None)
    blocks = getattr(trunk, "blocks", ())
    if trunk is None or not all(hasattr(getattr(b, "attn", None), "attn_drop") for b in blocks) or not len(blocks):
        raise ConfigError("rollout needs a Vision Transformer of timm; take method occlusion or hires_cam")
    with torch.enable_grad(), _attention_kept(blocks) as seen:
        score = _score(encoder, square, direction_D)
        slopes = torch.autograd.grad(score, seen) if asked else ()
    layers = [a.detach() for a in seen]
    flow_BNN = gradient_rollout(layers, slopes) if asked else attention_rollout(layers)
    first = trunk.num_prefix_tokens
    pooled_by_token = first > 0 and trunk.global_pool == "token"
    flow_N = flow_BNN[0, 0] if pooled_by_token else flow_BNN[0, first:].mean(0)
    rows, cols = trunk.patch_embed.grid_size
    return np.asarray(flow_N[first:].reshape(rows, cols).cpu().numpy(), np.float32)


@contextmanager
def _attention_kept(blocks: Sequence[Any]) -> "Iterator[list[torch.Tensor]]":
    """Give a list that each block's attention, (B, H, N, N), is put into as the model runs.

    timm's fused kernel does not show it; while this holds, the blocks compute it in the open.
    """
    seen: list[torch.Tensor] = []
    fused = [b.attn.fused_attn for b in blocks]
    handles = [b.attn.attn_drop.register_forward_hook(lambda _, __, out: seen.append(out)) for b in blocks]
    try:
        for b in blocks:
            b.attn.fused_attn = False
        yield seen
    finally:
        for b, before, handle in zip(blocks, fused, handles, strict=True):
            b.attn.fused_attn = before
            handle.remove()


def _hires_cam(encoder: ClipEncoder, square: np.ndarray, direction_D: np.ndarray) -> np.ndarray:
    """Return float32 (h, w) over the last feature map of a convolutional network that is fine enough."""
    import torch

    seen: list[torch.Tensor] = []
    handles = [s.register_forward_hook(lambda _, __, out: seen.append(out)) for s in _stages(encoder.model.visual)]
    try:
        with torch.enable_grad():
            score = _score(encoder, square, direction_D)
            fine = [f for f in seen if f.ndim == 4 and min(f.shape[2:]) >= FINE_GRID] or seen[:1]
            (slope,) = torch.autograd.grad(score, fine[-1:])
    finally:
        for handle in handles:
            handle.remove()
    return np.asarray(hires_cam(fine[-1].detach(), slope)[0].cpu().numpy(), np.float32)


def _stages(visual: Any) -> list[Any]:
    """Return a convolutional tower's stages, first to last: of timm, of open_clip, of torchvision."""
    trunk = getattr(visual, "trunk", None) or getattr(visual, "resnet", None) or visual
    known = getattr(trunk, "feature_info", None)
    if known and not hasattr(trunk, "blocks"):
        return [trunk.get_submodule(info["module"]) for info in known]
    names = [f"layer{i}" for i in range(1, 5)]
    if not all(hasattr(trunk, n) for n in names):
        raise ConfigError("hires_cam needs a convolutional image tower; take method occlusion or gradient_rollout")
    return [getattr(trunk, n) for n in names]


def _score(encoder: ClipEncoder, square: np.ndarray, direction_D: np.ndarray) -> "torch.Tensor":
    import torch

    x = encoder.pixels(square[None], 1).requires_grad_(True)  # a frozen tower has gradients then, too
    features = encoder.model.encode_image(x, normalize=True)
    score: torch.Tensor = (features[0] * torch.from_numpy(direction_D).to(features)).sum()
    return score
