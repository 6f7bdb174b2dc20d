"""BiomedCLIP from a folder laid out as the Hub's, with random weights of its true shape.

The Hub's snapshot holds open_clip_config.json, open_clip_pytorch_model.bin (784 MB, of an earlier transformers,
which stored its positions), and the tokenizer; not the text tower's configuration.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import CONFIGS, Clip, build, from_files, lock, to_files
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import ClipEncoder

REPO = "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "wrist", "fracture", "no", "styloid", "."]
TEXTS = ["left wrist fracture .", "no fracture"]
BIN = "open_clip_pytorch_model.bin"

BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
LAYER = (
    *(f"attention.self.{n}" for n in ("query", "key", "value")),
    *("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"),
)


def both(names: list[str]) -> set[str]:
    return {f"{n}.{part}" for n in names for part in ("weight", "bias")}


def key_names() -> set[str]:
    """The names of timm's ViT-B/16, transformers' BERT and open_clip's projections, written out."""
    trunk = both([f"blocks.{i}.{n}" for i in range(12) for n in BLOCK] + ["patch_embed.proj", "norm"])
    bert = both([f"encoder.layer.{i}.{n}" for i in range(12) for n in LAYER] + ["embeddings.LayerNorm"])
    bert |= {f"embeddings.{n}_embeddings.weight" for n in ("word", "position", "token_type")}
    return {
        *(f"visual.trunk.{n}" for n in trunk | {"cls_token", "pos_embed"}),
        *(f"text.transformer.{n}" for n in bert),
        *("visual.head.proj.weight", "text.proj.0.weight", "text.proj.2.weight", "logit_scale"),
    }


def sizes() -> tuple[int, int]:
    """Parameters of both towers, from the published configurations."""
    width, hidden, dim = 768, 3072, 512
    block = 4 * width * (width + 1) + 2 * width * hidden + hidden + width + 4 * width
    trunk = 12 * block + (3 * 16 * 16 + 1) * width + width + 197 * width + 2 * width
    bert = 12 * block + (30522 + 512 + 2) * width + 2 * width
    return trunk + width * dim, bert + width * (width + dim) // 2 + (width + dim) // 2 * dim


@pytest.fixture(scope="module")
def made() -> Clip:
    """BiomedCLIP whose tensors are windows on one storage, so that its file is a tenth of the release's."""
    torch.manual_seed(0)
    clip = build(EncoderConfig(model="biomedclip", init="random"))
    pool = 0.03 * torch.randn(24_000_000)
    for parameter in clip.model.parameters():
        start = int(torch.randint(len(pool) - parameter.numel(), ()))
        if parameter.ndim > 1:
            parameter.data = pool[start : start + parameter.numel()].view(parameter.shape)
    return clip


@pytest.fixture(scope="module")
def snapshot(made: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot")
    model_cfg = json.loads((CONFIGS / "biomedclip.json").read_text())
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}))
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    positions = {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    torch.save({**made.model.state_dict(), **positions}, folder / BIN)
    return folder


@pytest.fixture(scope="module")
def loaded(snapshot: Path) -> Clip:
    return build(EncoderConfig(model=f"local-dir:{snapshot}"))


def test_its_keys_and_sizes_are_those_of_its_public_configuration(made: Clip) -> None:
    assert set(made.model.state_dict()) == key_names()
    counted = tuple(sum(p.numel() for p in getattr(made.model, t).parameters()) for t in ("visual", "text"))
    assert counted == sizes() == (86_191_872, 109_710_848)
    assert sum(counted) + 1 == 195_902_721


def test_the_folders_vectors_are_the_models_to_the_last_bit(made: Clip, loaded: Clip) -> None:
    """Also once it was published as safetensors and read back."""
    assert (loaded.dim, loaded.image_size) == (512, 224)
    assert loaded.tokenizer(TEXTS).shape == (2, 256)
    made.tokenizer.hub = loaded.tokenizer.hub  # random weights have no vocabulary of their own
    images = [np.random.default_rng(0).integers(0, 256, (s, s), dtype=np.uint8) for s in (224, 300)]
    one, other = ClipEncoder(made, "made"), ClipEncoder(loaded, "loaded")
    assert np.array_equal(one.encode_images(images), other.encode_images(images))
    assert np.array_equal(one.encode_texts(TEXTS), other.encode_texts(TEXTS))
    again = ClipEncoder(from_files(to_files(loaded)), "published")
    assert np.array_equal(one.encode_images(images), again.encode_images(images))
    assert np.array_equal(one.encode_texts(TEXTS), again.encode_texts(TEXTS))


def test_its_last_eight_image_blocks_are_trained(loaded: Clip) -> None:
    """By name: blocks 4 to 11 of 0 to 11, the final norm, the projection; the whole text tower, or none of it."""
    lock(loaded, image_blocks=8, text=True)
    image = both([f"visual.trunk.blocks.{i}.{n}" for i in range(4, 12) for n in BLOCK] + ["visual.trunk.norm"])
    text = {n for n in key_names() if n.startswith("text.")}
    trained = {n for n, p in loaded.model.named_parameters() if p.requires_grad}
    assert trained == image | {"visual.head.proj.weight", "logit_scale"} | text
    lock(loaded, image_blocks=8, text=False)
    assert {n for n, p in loaded.model.named_parameters() if p.requires_grad} == trained - text


def test_a_snapshot_in_the_hubs_cache_is_enough(
    snapshot: Path, loaded: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network, and without the text tower's own repository."""
    import huggingface_hub.constants as hub

    cached = tmp_path / f"models--{REPO.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / "abc").symlink_to(snapshot)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    clip = build(EncoderConfig(model=f"hf-hub:{REPO}"))
    assert torch.equal(clip.tokens(TEXTS), loaded.tokens(TEXTS))
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, clip.model.state_dict()[name]), name
    with pytest.raises(
        ConfigError, match=r"hf download ORG/NONE --local-dir FOLDER; then set encoder.model to local-d"
    ):
        build(EncoderConfig(model="hf-hub:ORG/NONE"))


def test_a_checkpoint_that_would_run_code_is_refused(snapshot: Path, tmp_path: Path) -> None:
    from tests.unit.models.test_baselines import Code

    for file in snapshot.iterdir():
        if file.name != BIN:
            (tmp_path / file.name).symlink_to(file)
    torch.save({"state_dict": Code()}, tmp_path / BIN)
    with pytest.raises(ConfigError, match="cannot load encoder"):
        build(EncoderConfig(model=f"local-dir:{tmp_path}"))
    assert not Path("ran").exists()
