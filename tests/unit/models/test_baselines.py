"""PMC-CLIP and MedCLIP: released weights are mapped key by key, and give what the originals' own structure gives."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.models import originals
from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import Clip, build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import NAME, ClipEncoder, load_encoder, resize_square, save_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "wrist", "fracture", "no", "styloid", "."]
TEXTS = ["left wrist fracture .", "no fracture", "right styloid"]
State = dict[str, torch.Tensor]


def folder(tmp_path: Path, state: State, name: str) -> str:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    torch.save(state, tmp_path / name)
    return f"local-dir:{tmp_path}"


@pytest.fixture(scope="module")
def pmc() -> State:
    return originals.random_state(originals.pmc_clip())


@pytest.fixture(scope="module")
def pmc_clip(pmc: State, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in pmc.items()}}
    place = folder(tmp_path_factory.mktemp("pmc"), wrapped, "checkpoint.pt")  # type: ignore[arg-type]
    clip = build(EncoderConfig(kind="pmc_clip", model=place))
    clip.model.eval()
    return clip


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(5))


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


@torch.inference_mode()
def test_pmc_clip_gives_what_its_own_structure_gives(pmc: State, pmc_clip: Clip) -> None:
    assert close(pmc_clip.model.encode_image(images()), originals.modified_resnet_features(pmc, images()))
    tokens = pmc_clip.tokens(TEXTS)
    assert tokens.shape == (3, 77), "its padding is not masked, so it must stay"
    assert tokens[1].tolist()[:5] == [2, 9, 8, 3, 0]
    theirs = originals.bert_states(pmc, "text_encoder.", tokens)[-1][:, 0] @ pmc["text_projection"]
    assert close(pmc_clip.model.encode_text(tokens), theirs)
    assert float(pmc_clip.model.logit_scale) == 2.5
    assert (pmc_clip.dim, pmc_clip.image_size) == (768, 224)


def test_pmc_clips_release_in_parts_is_the_same_model(pmc: State, pmc_clip: Clip, tmp_path: Path) -> None:
    for name, prefix in (("image_encoder(resnet50).pth", "visual."), ("text_encoder.pth", "text_encoder.")):
        part = {k.removeprefix(prefix): v for k, v in pmc.items() if k.startswith(prefix)}
        place = folder(tmp_path, part, name)
    with pytest.raises(ConfigError, match=r"neither checkpoint.pt nor text_projection_layer.pth; fetch checkpoint.pt"):
        build(EncoderConfig(kind="pmc_clip", model=place))
    torch.save(torch.nn.Parameter(pmc["text_projection"]), tmp_path / "text_projection_layer.pth")
    other = build(EncoderConfig(kind="pmc_clip", model=place)).model.state_dict()
    for name, tensor in pmc_clip.model.state_dict().items():
        assert name == "logit_scale" or torch.equal(tensor, other[name]), name


@torch.inference_mode()
def test_medclip_gives_what_its_own_structure_gives(tmp_path: Path) -> None:
    """Its Swin against timm's, its text tower against a plain BERT that reads each text alone, as it was released."""
    import timm

    state = originals.random_state(originals.medclip_vit())
    clip = build(EncoderConfig(kind="medclip", model=folder(tmp_path, state, "pytorch_model.bin")))
    clip.model.eval()
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0).eval()
    swin.load_state_dict(originals.swin_for_timm(state))
    assert close(clip.model.encode_image(images()), swin(images()) @ state["vision_model.projection_head.weight"].T)
    tokens = clip.tokens(TEXTS)
    together = clip.model.encode_text(tokens)
    for i, text in enumerate(TEXTS):
        alone = clip.tokens([text])
        states = originals.bert_states(state, "text_model.model.", alone)
        theirs = (
            torch.stack([states[1], states[2], states[-1]]).mean((0, 2)) @ state["text_model.projection_head.weight"].T
        )
        assert close(together[i : i + 1], theirs)
    assert (clip.dim, clip.image_size) == (512, 224)


@torch.inference_mode()
def test_medclips_resnet_is_told_by_its_names(tmp_path: Path) -> None:
    import timm

    state = originals.random_state(originals.medclip_resnet())
    clip = build(EncoderConfig(kind="medclip", model=folder(tmp_path, state, "pytorch_model.bin")))
    clip.model.eval()
    prefix = "vision_model.model."
    resnet = timm.create_model("resnet50", num_classes=0).eval()
    named = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and ".fc." not in k}
    resnet.load_state_dict(named)
    assert close(clip.model.encode_image(images(1)), resnet(images(1)) @ state["vision_model.model.fc.weight"].T)


def _without(state: State) -> State:
    return {k: v for k, v in state.items() if k != "text_encoder.encoder.layer.3.output.dense.bias"}


def _other_shape(state: State) -> State:
    return {**state, "text_projection": torch.zeros(768, 512)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without, r"1 missing \(text.bert.encoder.layer.3.output.dense.bias\)"),
        (lambda s: {**s, "adapter.weight": torch.zeros(1)}, r"1 surplus \(adapter.weight\)"),
        (lambda s: {**s, "visual.layer5.0.bias": torch.zeros(1)}, r"1 surplus \(visual.layer5.0.bias\)"),
        (_other_shape, r"1 of another shape \(text.projection\)"),
        (lambda _: {"a": torch.zeros(1)}, r"538 missing \(.*, \.\.\.\); 1 surplus \(a\)"),
    ],
)
def test_every_key_is_accounted_for(pmc: State, pmc_clip: Clip, change: Callable[[State], State], said: str) -> None:
    from wristmir_ray.models import pmc_clip as family
    from wristmir_ray.models.weights import load_exactly

    before = pmc_clip.model.state_dict()["text.projection"].clone()
    with pytest.raises(ConfigError, match=f"weights of a test do not fit the architecture: .*{said}"):
        load_exactly(pmc_clip.model, change(pmc), family.name_here, "of a test")
    assert torch.equal(pmc_clip.model.state_dict()["text.projection"], before), "nothing is loaded in part"


class Code:
    """Something that would run if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("ran"),)  # type: ignore[return-value]


def test_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    for write in (lambda p: torch.save({"state_dict": Code()}, p), lambda p: p.write_bytes(pickle.dumps(Code()))):
        write(tmp_path / "pytorch_model.bin")
        with pytest.raises(ConfigError, match="would run code, which is refused"):
            build(EncoderConfig(kind="medclip", model=f"local-dir:{tmp_path}"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"kind": "medclip", "model": "medclip_vit"},
            "needs released weights; fetch pytorch_model.bin .*local-dir:FOLDER",
        ),
        ({"kind": "pmc_clip"}, "needs released weights; fetch checkpoint.pt .*s3:// prefix"),
        ({"kind": "medclip", "model": "local-dir:/nowhere"}, "there is no such folder"),
        ({"kind": "medclip", "model": "swin", "init": "random"}, "no architecture 'swin': medclip_vit, medclip_resnet"),
        (
            {"kind": "medclip", "model": "medclip_vit", "init": "random", "image_size": 64},
            "encoder.image_size is open_c",
        ),
    ],
)
def test_what_is_missing_is_said_with_its_mend(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(EncoderConfig(**settings))  # type: ignore[arg-type]


def test_weights_without_a_vocabulary_are_refused_before_they_are_loaded(pmc: State, tmp_path: Path) -> None:
    place = folder(tmp_path, {"a": torch.zeros(1)}, "checkpoint.pt")
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(ConfigError, match=r"no vocab.txt beside the weights; fetch .*PubMedBERT"):
        build(EncoderConfig(kind="pmc_clip", model=place))


def test_a_published_baseline_gives_the_same_vectors(pmc_clip: Clip, tmp_path: Path) -> None:
    digest, files = save_encoder(str(tmp_path), "run1", pmc_clip)
    storage.publish(str(tmp_path), storage.Manifest(NAME, "run1", "test", files=files))
    loaded, made = load_encoder(str(tmp_path)), ClipEncoder(pmc_clip, digest)
    assert loaded.digest == digest
    grey = [np.random.default_rng(0).integers(0, 256, (s, s), dtype=np.uint8) for s in (100, 224, 300)]
    assert np.array_equal(loaded.encode_images(grey), made.encode_images(grey))
    assert np.array_equal(loaded.encode_texts(TEXTS), made.encode_texts(TEXTS))
    images_alone = load_encoder(str(tmp_path), texts=False)
    assert np.array_equal(images_alone.encode_images(grey), made.encode_images(grey))
    published = Path(storage.run_uri(str(tmp_path), NAME, "run1"))
    assert all(str(tmp_path.parent) not in f.read_text() for f in published.glob("*.json"))


def test_medclips_pixels_are_prepared_as_its_own_code_does() -> None:
    """Smaller squares are set into zeros, larger ones shrunk by bicubic interpolation; one mean for all channels."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (101, 101), dtype=np.uint8)
    whole = Image.new("L", (224, 224), 0)
    whole.paste(Image.fromarray(small), (int((224 - 101) / 2),) * 2)
    assert np.array_equal(resize_square(small, 224, pad_small=True), np.asarray(whole))
    large = rng.integers(0, 256, (300, 300), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(large).resize((224, 224), Image.Resampling.BICUBIC))
    assert np.array_equal(resize_square(large, 224, pad_small=True), wanted)
    torch.manual_seed(0)
    clip = build(EncoderConfig(kind="medclip", model="medclip_vit", init="random"))
    seen: list[torch.Tensor] = []
    clip.model.visual.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    ClipEncoder(clip, "d").encode_images([small])
    grey = torch.from_numpy(np.array(whole)).float() / 255
    assert torch.allclose(seen[0], ((grey - 0.5862785803043838) / 0.27950088968644304).expand(1, 3, -1, -1), atol=1e-6)
