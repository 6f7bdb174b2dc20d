"""Padding that is cut and tokens that are not computed change neither features nor gradients; else they stay."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wristmir_ray.models.clip import Clip, build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.pooled import pool_early

LENGTHS = (5, 9, 3, 12)
OWN = {"context_length": 24, "vocab_size": 100, "width": 32, "heads": 2, "layers": 2, "eos_id": 99}
BERT = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 100}
HUGGING_FACE = {"hf_model_name": "local", "hf_proj_type": "mlp", "context_length": 24}
VIT = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
EXACT = {
    "causal, argmax": OWN,
    "causal, eos": {**OWN, "pool_type": "eos"},
    "causal, first": {**OWN, "pool_type": "first"},
    "both ways, padding masked": {**OWN, "no_causal_mask": True, "_pad_mask": True, "pool_type": "first"},
    "both ways, padding masked, eos": {**OWN, "no_causal_mask": True, "_pad_mask": True, "pool_type": "eos"},
    "BERT, cls": {**HUGGING_FACE, "hf_pooler_type": "cls_last_hidden_state_pooler"},
    "BERT, mean": {**HUGGING_FACE, "hf_pooler_type": "mean_pooler"},
    "RoBERTa, mean": {**HUGGING_FACE, "hf_pooler_type": "mean_pooler", "_type": "roberta"},
}
OTHER = {
    "both ways, padding seen": {**OWN, "no_causal_mask": True},
    "causal, last token": {**OWN, "pool_type": "last"},
    "both ways, padding masked, last token": {**OWN, "no_causal_mask": True, "_pad_mask": True, "pool_type": "last"},
    "a class token behind the text": {**OWN, "embed_cls": True},
}


def clip_of(folder: Path, text: dict[str, object], vision: dict[str, object] | None = None) -> Clip:
    text = dict(text)
    kind, pad_mask = text.pop("_type", "bert"), text.pop("_pad_mask", False)
    if "hf_model_name" in text:
        more = {"pad_token_id": 0, "max_position_embeddings": 64, "model_type": kind}
        (folder / "config.json").write_text(json.dumps({**BERT, **more}))
    vision = vision or {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    clip = build(EncoderConfig(model=f"local-dir:{folder}", init="random"))
    if pad_mask:  # open_clip's own tower has it, its configuration does not
        clip.model.text.use_pad_mask = True
    clip.model.eval()
    return clip


def tokens(pad: int = 0) -> torch.Tensor:
    """Texts of several lengths, each ended by 99; the first holds the padding's id in its middle, as CLIP's '!' is."""
    out = torch.full((len(LENGTHS), 24), pad)
    for row, length in zip(out, LENGTHS, strict=True):
        row[:length] = torch.randint(5, 90, (length,), generator=torch.Generator().manual_seed(length))
        row[length - 1] = 99
    return out


def run(encode: Callable[[], torch.Tensor], clip: Clip) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    clip.model.zero_grad()
    features = encode()
    weights = torch.linspace(-1, 1, features.numel()).reshape(features.shape)
    (features * weights).sum().backward()
    return features.detach(), {n: p.grad for n, p in clip.model.named_parameters() if p.grad is not None}


def assert_same(one: tuple[torch.Tensor, dict[str, torch.Tensor]], other: tuple[torch.Tensor, dict[str, torch.Tensor]]):
    assert torch.allclose(one[0], other[0], atol=1e-5)
    assert one[1].keys() == other[1].keys()
    for name, grad in other[1].items():
        assert torch.allclose(one[1][name], grad, atol=1e-5 * max(1.0, float(grad.abs().max()))), name


@pytest.mark.parametrize("kind", EXACT)
def test_cut_padding_changes_nothing(kind: str, tmp_path: Path) -> None:
    clip = clip_of(tmp_path, EXACT[kind])
    padded = tokens()
    padded[0, 2] = 0
    cut = clip.trim(padded)
    assert cut.shape == (4, 12)
    assert_same(run(lambda: clip.model.encode_text(cut), clip), run(lambda: clip.model.encode_text(padded), clip))


@pytest.mark.parametrize("kind", OTHER)
def test_padding_that_counts_stays(kind: str, tmp_path: Path) -> None:
    """Cutting it would be another function: shown, so that the refusal is not idle."""
    clip = clip_of(tmp_path, OTHER[kind])
    padded = tokens()
    assert clip.trim(padded) is padded
    with torch.inference_mode():
        features = clip.model.encode_text(padded)
        assert (clip.model.encode_text(padded[:, :12]) - features).abs().max() > 1e-4


def test_padding_of_a_pooler_that_reads_it_stays(tmp_path: Path) -> None:
    """open_clip's max pooler masks what it should read."""
    padded = tokens()
    assert clip_of(tmp_path, {**HUGGING_FACE, "hf_pooler_type": "max_pooler"}).trim(padded) is padded


def test_padding_on_the_left_is_never_cut(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, EXACT["BERT, mean"])
    left = tokens().flip(1)
    assert clip.trim(left).shape == (4, 24)
    assert clip.trim(left[:0]).shape == (0, 24)


@pytest.mark.parametrize("tokens_kept", [1, 2, 5])
def test_a_pooled_token_alone_is_the_plain_blocks(tokens_kept: int, tmp_path: Path) -> None:
    """Features and every gradient, for images of any number."""
    clip = clip_of(tmp_path, OWN, {**VIT, "image_size": 160})
    images = torch.rand(tokens_kept, 3, 160, 160, generator=torch.Generator().manual_seed(1))
    plain = run(lambda: clip.model.encode_image(images), clip)
    before = clip.model.state_dict().keys()
    assert pool_early(clip.model.visual)
    assert clip.model.state_dict().keys() == before
    assert_same(run(lambda: clip.model.encode_image(images), clip), plain)


@pytest.mark.parametrize(
    "vision",
    [
        {**VIT, "timm_pool": "avg", "image_size": 160},
        {**VIT, "timm_model_name": "test_resnet", "timm_pool": "avg", "image_size": 64},
        {"layers": 1, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32},
    ],
    ids=["average of all tokens", "no transformer", "open_clip's own"],
)
def test_other_towers_are_left_as_they_are(vision: dict[str, object], tmp_path: Path) -> None:
    clip = clip_of(tmp_path, OWN, vision)
    size = int(vision["image_size"])  # type: ignore[call-overload]
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        before = clip.model.encode_image(images)
        assert not pool_early(clip.model.visual)
        assert torch.equal(clip.model.encode_image(images), before)


def test_a_last_block_with_dropout_is_left_as_it_is(tmp_path: Path) -> None:
    clip = clip_of(tmp_path, OWN, {**VIT, "image_size": 160})
    clip.model.visual.trunk.blocks[-1].attn.proj_drop.p = 0.1
    assert not pool_early(clip.model.visual)
