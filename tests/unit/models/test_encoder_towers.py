"""Towers: which parameters are trained, BiomedCLIP's architecture, what cannot be built."""

import json
from pathlib import Path

import pytest
import torch

from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import Clip, build, from_files, lock, to_files
from wristmir_ray.models.config import EncoderConfig

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 64,
    "vocab_size": 12,
}


def local(folder: Path, vision: dict[str, object], text: dict[str, object]) -> str:
    """Write an open_clip folder and return the name that loads it."""
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def biomedclip_twin(folder: Path) -> str:
    """BiomedCLIP's shape, shrunken: timm ViT, BERT with its own vocabulary, MLP projection, CLS pooling."""
    (folder / "config.json").write_text(json.dumps(BERT))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "wrist", "fracture", "no", "styloid", "."]
    (folder / "vocab.txt").write_text("\n".join(words))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    vision = {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 160,
    }
    text = {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 32,
    }
    return local(folder, vision, text)


def trained(clip: Clip, tower: str) -> set[str]:
    return {n for n, p in getattr(clip.model, tower).named_parameters() if p.requires_grad}


def test_the_last_blocks_of_a_timm_vit_are_trained_and_nothing_before(tmp_path: Path) -> None:
    clip = build(EncoderConfig(model=biomedclip_twin(tmp_path), init="random"))
    depth = len(clip.model.visual.trunk.blocks)
    assert depth > 4
    lock(clip, image_blocks=4, text=True)
    everything = {n for n, _ in clip.model.visual.named_parameters()}
    last = tuple(f"trunk.blocks.{i}." for i in range(depth - 4, depth))
    wanted = {n for n in everything if n.startswith((*last, "trunk.norm.", "head."))}
    assert trained(clip, "visual") == wanted
    assert {n.split(".")[2] for n in wanted if "blocks" in n} == {str(i) for i in range(depth - 4, depth)}
    assert trained(clip, "text") == {n for n, _ in clip.model.text.named_parameters()}
    assert clip.model.logit_scale.requires_grad


def test_the_last_blocks_of_open_clips_own_vit_are_the_same_number(tmp_path: Path) -> None:
    """Its projection is a group of its own, which the raw `visual.lock` counts as a block."""
    vision: dict[str, object] = {"layers": 6, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}
    clip = build(EncoderConfig(model=local(tmp_path, vision, {**TEXT}), init="random"))
    lock(clip, image_blocks=4, text=True)
    blocks = tuple(f"transformer.resblocks.{i}." for i in range(2, 6))
    everything = {n for n, _ in clip.model.visual.named_parameters()}
    assert trained(clip, "visual") == {n for n in everything if n.startswith((*blocks, "ln_post.", "proj"))}


def test_a_frozen_text_tower_and_a_whole_image_tower(tmp_path: Path) -> None:
    clip = build(EncoderConfig(init="random"))
    lock(clip, image_blocks=None, text=False)
    assert trained(clip, "text") == set()
    assert trained(clip, "visual") == {n for n, _ in clip.model.visual.named_parameters()}
    assert clip.model.logit_scale.requires_grad


def test_blocks_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 transformer blocks"):
        lock(build(EncoderConfig(init="random")), image_blocks=8, text=True)
    clip = build(EncoderConfig(model=biomedclip_twin(tmp_path), init="random"))
    with pytest.raises(ConfigError, match="cannot train the last 40"):
        lock(clip, image_blocks=40, text=True)


def test_a_hugging_face_text_tower_travels_with_its_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    clip = build(EncoderConfig(model=biomedclip_twin(tmp_path), init="random"))
    clip.model.eval()
    texts = ["left wrist fracture .", "no fracture"]
    tokens = clip.tokens(texts)
    assert tokens.shape == (2, 6)
    files = to_files(clip)
    assert str(tmp_path) not in files["open_clip_config.json"].decode()
    again = from_files(files)
    again.model.eval()
    assert torch.equal(again.tokens(texts), tokens)
    images = torch.rand(2, 3, 160, 160)
    with torch.inference_mode():
        for one, other in zip(clip.model(images, tokens), again.model(images, tokens), strict=True):
            assert torch.equal(one, other)
        padded = clip.tokenizer(texts)
        assert padded.shape == (2, 32)
        assert torch.allclose(clip.model.encode_text(padded), clip.model.encode_text(tokens), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model": "no-such-model"}, "knows no model"),
        ({"model": "local-dir:/nowhere"}, "cannot load encoder"),
        ({"model": "wristmir_resnet", "init": "pretrained"}, "with weights"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(config: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(EncoderConfig(**{"init": "random", **config}))  # type: ignore[arg-type]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    files = to_files(build(EncoderConfig(init="random")))
    architecture = json.loads(files["open_clip_config.json"])
    architecture["model_cfg"]["embed_dim"] = 64
    with pytest.raises(ConfigError, match="cannot load encoder"):
        from_files({**files, "open_clip_config.json": json.dumps(architecture).encode()})


def test_a_relative_folder_is_the_drivers_not_a_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert EncoderConfig(model="local-dir:models/a").model == f"local-dir:{tmp_path}/models/a"
    assert EncoderConfig(model="hf-hub:a/b").model == "hf-hub:a/b"
