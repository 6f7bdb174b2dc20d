"""Attention maps: closed forms, what each method is proved to be, and BiomedCLIP's shape."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.attention.maps import Method, attention_map, blend, direction, occlusion, soft_window
from wristmir_ray.attention.rollout import attention_rollout, gradient_rollout, hires_cam
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import ClipEncoder


def attention(layers: int, heads: int, tokens: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, heads, tokens, tokens)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1) for _ in range(layers)]


def test_rollout_of_one_layer_is_half_of_it_and_half_the_skip() -> None:
    (one,) = attention(1, 3, 5)
    assert torch.allclose(attention_rollout([one]), 0.5 * torch.eye(5, dtype=torch.float64) + 0.5 * one.mean(1))


def test_rollout_of_two_layers_multiplies_the_later_from_the_left() -> None:
    """By hand: the second layer copies token 0 to token 1, the first copies token 2 to token 0."""
    first, second = torch.eye(3), torch.eye(3)
    first[0], second[1] = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0])
    flow = attention_rollout([first[None, None], second[None, None]])[0]
    assert torch.allclose(flow[1], torch.tensor([0.25, 0.5, 0.25]))
    assert torch.allclose(attention_rollout([first[None, None]] * 2, residual=0.0)[0, 0], torch.tensor([0.0, 0.0, 1.0]))


@given(st.integers(1, 6), st.integers(1, 4), st.integers(2, 9), st.floats(0, 1))
def test_a_rollouts_rows_sum_to_one(layers: int, heads: int, tokens: int, residual: float) -> None:
    flow = attention_rollout(attention(layers, heads, tokens), residual)
    assert flow.shape == (2, tokens, tokens)
    assert (flow >= 0).all()
    assert torch.allclose(flow.sum(-1), torch.ones(2, tokens, dtype=torch.float64))


def test_rollout_of_attention_that_is_even_is_even_beside_the_skip() -> None:
    even = torch.full((1, 2, 4, 4), 0.25)
    flow = attention_rollout([even] * 3)[0]
    assert torch.allclose(flow, 0.125 * torch.eye(4) + 0.875 / 4)


def test_gradient_rollout_keeps_what_raises_the_score_alone() -> None:
    a, slope = torch.full((1, 2, 2, 2), 0.5), torch.zeros(1, 2, 2, 2)
    slope[0, 0, 0, 1], slope[0, 1, 0, 0] = 4.0, -4.0
    flow = gradient_rollout([a], [slope])[0]
    assert torch.allclose(flow, torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    assert torch.equal(gradient_rollout([a], [torch.zeros_like(slope)])[0], torch.eye(2))


def test_hires_cam_is_cam_behind_a_mean_and_a_linear_layer() -> None:
    """Its sum over places is the score, so that nothing of the score is left out or counted twice."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 6, 4, 5, generator=generator, requires_grad=True)
    weight = torch.randn(6, generator=generator)
    score = features.mean((2, 3))[0] @ weight
    (slope,) = torch.autograd.grad(score, features)
    cam = (features.detach()[0] * weight[:, None, None]).sum(0) / 20
    assert torch.allclose(hires_cam(features.detach(), slope)[0], cam, atol=1e-6)
    assert torch.allclose(hires_cam(features.detach(), slope).sum(), score.detach())


@dataclass
class OnePixel:
    """An encoder whose vector is one pixel and a constant: what occlusion must find is known."""

    row: int = 20
    col: int = 9
    digest: str = "one pixel"
    dim: int = 2
    image_size: int = 32
    calls: list[int] = field(default_factory=list)

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        return np.array([[i[self.row, self.col] / 255, 1.0] for i in images], np.float32)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(t), 1.0] for t in texts], np.float32)


def test_occlusion_is_what_the_score_loses_and_zero_where_nothing_depends() -> None:
    """The map against its formula written out pixel by pixel, and its support."""
    import cv2

    square = np.zeros((32, 32), np.uint8)
    square[20, 9] = 255
    encoder = OnePixel()
    found = occlusion(encoder, square, np.array([1.0, 0.0], np.float32), window_px=6, stride_px=4)
    at = [min(i, 32) for i in range(0, 36, 4)]
    blurred = cv2.GaussianBlur(square, (0, 0), 3.0).astype(np.float32)
    lost, total = np.zeros((32, 32)), np.zeros((32, 32))
    for y in at:
        for x in at:
            mask = soft_window(32, x, y, 6)
            lost += mask * (1.0 - blend(square, blurred, mask)[20, 9] / 255)
            total += mask
    assert np.allclose(found, lost / total, atol=1e-5)
    ys, xs = np.nonzero(found > 1e-6)
    assert np.hypot(ys - 20, xs - 9).max() < 2 * 6 * np.sqrt(2)
    assert abs(np.unravel_index(found.argmax(), found.shape) - np.array([20, 9])).max() <= 2
    assert encoder.calls == [1 + 81]
    assert not occlusion(encoder, square, np.array([0.0, 1.0], np.float32), 6, 4).any()


def test_a_soft_window_is_one_in_its_middle_and_reaches_a_window_each_way() -> None:
    mask = soft_window(32, 16.5, 8.5, 6)
    assert mask[8, 16] == mask.max() == 1.0
    assert mask[8, 19] == pytest.approx(0.5)
    assert not mask[:, 23:].any()
    assert not mask[15:].any()


def test_a_direction_has_unit_norm_and_is_the_difference_of_two_captions() -> None:
    assert np.allclose(direction(OnePixel(), "abc"), np.array([3, 1]) / np.sqrt(10))  # type: ignore[arg-type]
    assert np.allclose(direction(OnePixel(), "abcd", "ab"), [1.0, 0.0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the same vector"):
        direction(OnePixel(), "abc", "xyz")  # type: ignore[arg-type]


VIT = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}


def encoder_of(tmp_path: Any, vision: dict[str, Any]) -> ClipEncoder:
    from tests.unit.models.test_encoder_towers import local

    torch.manual_seed(0)
    return ClipEncoder(build(EncoderConfig(model=local(tmp_path, vision, {**TEXT}), init="random")), "d")


def gray(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)


def towards(encoder: ClipEncoder) -> np.ndarray:
    vector = np.random.default_rng(1).normal(size=encoder.dim).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def test_maps_of_a_vit_leave_the_encoder_as_it_was(tmp_path: Any) -> None:
    encoder = encoder_of(tmp_path, {**VIT, "image_size": 160})
    before = encoder.encode_images([gray(160)])
    rollout = attention_map(encoder, gray(200), towards(encoder), Method.ROLLOUT)
    asked = attention_map(encoder, gray(200), towards(encoder), Method.GRADIENT_ROLLOUT)
    for found in (rollout, asked):
        assert found.shape == (160, 160)
        assert found.dtype == np.float32
        assert (found >= 0).all()
    assert np.array_equal(rollout, attention_map(encoder, gray(200), -towards(encoder), Method.ROLLOUT))
    assert not np.allclose(asked, attention_map(encoder, gray(200), -towards(encoder), Method.GRADIENT_ROLLOUT))
    assert np.array_equal(encoder.encode_images([gray(160)]), before)
    assert all(p.grad is None for p in encoder.model.parameters())
    with pytest.raises(ConfigError, match="convolutional image tower"):
        attention_map(encoder, gray(160), towards(encoder), Method.HIRES_CAM)


def test_what_is_kept_is_the_attention_that_the_block_used(tmp_path: Any) -> None:
    from wristmir_ray.attention.maps import _attention_kept

    encoder = encoder_of(tmp_path, {**VIT, "image_size": 160})
    block = encoder.model.visual.trunk.blocks[2].attn
    x = torch.randn(1, 101, block.qkv.in_features)
    with torch.inference_mode():
        fused = block(x)
        with _attention_kept([encoder.model.visual.trunk.blocks[2]]) as seen:
            shown = block(x)
        v = block.qkv(x).reshape(1, 101, 3, block.num_heads, block.head_dim).permute(2, 0, 3, 1, 4)[2]
        again = block.proj((seen[0] @ v).transpose(1, 2).reshape(1, 101, -1))
    assert torch.allclose(seen[0].sum(-1), torch.ones(1), atol=1e-5)
    assert torch.allclose(shown, fused, atol=1e-5)
    assert torch.allclose(again, fused, atol=1e-5)


def test_maps_of_a_convolutional_tower() -> None:
    torch.manual_seed(0)
    encoder = ClipEncoder(build(EncoderConfig(init="random", fixed_batch=4)), "d")
    for method in (Method.HIRES_CAM, Method.OCCLUSION):
        found = attention_map(encoder, gray(100), towards(encoder), method)
        assert found.shape == (64, 64)
        assert np.isfinite(found).all()
        assert np.allclose(found, -attention_map(encoder, gray(100), -towards(encoder), method), atol=1e-5)
    with pytest.raises(ConfigError, match="rollout needs a Vision Transformer"):
        attention_map(encoder, gray(100), towards(encoder), Method.ROLLOUT)
    with pytest.raises(ValueError, match="uint8 squares"):
        attention_map(encoder, np.zeros((3, 4), np.uint8), towards(encoder))


def test_rollout_at_biomedclips_shape() -> None:
    """Twelve layers, twelve heads, 14 x 14 patches of 16 px and [CLS]: the map is [CLS]'s row."""
    from wristmir_ray.attention.maps import _attention_kept

    torch.manual_seed(0)
    encoder = ClipEncoder(build(EncoderConfig(model="biomedclip", init="random")), "d")
    found = attention_map(encoder, gray(224), towards(encoder), Method.ROLLOUT)
    assert found.shape == (224, 224)
    blocks = encoder.model.visual.trunk.blocks
    with torch.inference_mode(), _attention_kept(blocks) as seen:
        encoder.model.encode_image(encoder.pixels(encoder.squares([gray(224)]), 1))
    assert [tuple(a.shape) for a in seen] == [(1, 12, 197, 197)] * 12
    flow = attention_rollout(seen)[0]
    assert torch.allclose(flow.sum(-1), torch.ones(197), atol=1e-5)
    assert 0 < float(flow[0, 1:].sum()) < 1
    middle = np.arange(8, 224, 16)
    patches = (found[np.ix_(middle, middle)] + found[np.ix_(middle - 1, middle - 1)]) / 2
    assert np.allclose(patches, flow[0, 1:].reshape(14, 14).numpy(), rtol=0.05)
