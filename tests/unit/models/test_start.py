"""What a model starts from: told by content, not by the names of files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.models.test_encoder_towers import biomedclip_twin
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import build, to_files
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.start import starting_digest


def _digest(**settings: object) -> str:
    config = EncoderConfig(**settings)  # type: ignore[arg-type]
    return starting_digest(build(config), config)


def _weights(file: Path, seed: int) -> Path:
    """Write a file of weights for the demo's model."""
    torch.manual_seed(seed)
    save_file(build(EncoderConfig(init="random")).model.state_dict(), str(file))
    return file


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A folder with weights, architecture and tokenizer of BiomedCLIP's shape."""
    made, folder = tmp_path / "made", tmp_path / "snapshot"
    made.mkdir()
    folder.mkdir()
    torch.manual_seed(0)
    for name, data in to_files(build(EncoderConfig(model=biomedclip_twin(made), init="random"))).items():
        (folder / name).write_bytes(data)
    return folder


def test_other_weights_under_the_same_path_are_another_start(tmp_path: Path) -> None:
    file = _weights(tmp_path / "w.safetensors", seed=0)
    first = _digest(pretrained=str(file))
    assert len(first) == 32
    assert first == _digest(pretrained=str(file))
    _weights(file, seed=1)
    assert _digest(pretrained=str(file)) != first


def test_the_same_weights_elsewhere_or_in_another_format_are_the_same_start(tmp_path: Path) -> None:
    file = _weights(tmp_path / "w.safetensors", seed=0)
    torch.save(load_file(file), tmp_path / "other.pt")
    assert _digest(pretrained=str(tmp_path / "other.pt")) == _digest(pretrained=str(file))


def test_a_folder_is_told_by_weights_architecture_and_vocabulary(snapshot: Path, tmp_path: Path) -> None:
    first = _digest(model=f"local-dir:{snapshot}")
    moved = tmp_path / "moved"
    shutil.copytree(snapshot, moved)
    assert _digest(model=f"local-dir:{moved}") == first
    state = load_file(moved / "model.safetensors")
    save_file({**state, "logit_scale": state["logit_scale"] + 1}, str(moved / "model.safetensors"))
    assert _digest(model=f"local-dir:{moved}") != first
    shutil.copy(snapshot / "model.safetensors", moved)
    assert _digest(model=f"local-dir:{moved}") == first
    tokenizer = (moved / "tokenizer.json").read_text()
    (moved / "tokenizer.json").write_text(tokenizer.replace("styloid", "sesamoid"))
    assert _digest(model=f"local-dir:{moved}") != first


def test_random_weights_of_a_folder_are_told_by_its_architecture(snapshot: Path) -> None:
    drawn = {"model": f"local-dir:{snapshot}", "init": "random"}
    torch.manual_seed(0)
    first = _digest(**drawn)
    torch.manual_seed(1)
    assert _digest(**drawn) == first, "the seed is a setting of its own"
    described = json.loads((snapshot / "open_clip_config.json").read_text())
    described["model_cfg"]["embed_dim"] = 24
    (snapshot / "open_clip_config.json").write_text(json.dumps(described))
    assert _digest(**drawn) != first


def test_random_weights_of_a_named_architecture_need_no_digest() -> None:
    assert _digest(init="random") == ""


def test_a_file_is_the_drivers_and_a_tag_is_a_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers run in folders of their own, where a relative path names another place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert EncoderConfig(pretrained="w.pt").pretrained == f"{tmp_path}/w.pt"
    assert EncoderConfig(pretrained="models/w").pretrained == f"{tmp_path}/models/w"
    assert EncoderConfig(pretrained="~/w").pretrained == "/home/someone/w"
    assert EncoderConfig(pretrained="laion2b_s34b_b79k").pretrained == "laion2b_s34b_b79k"


def test_no_tag_of_open_clip_is_taken_for_a_file() -> None:
    import open_clip

    tags = {tag for _, tag in open_clip.list_pretrained()}
    assert len(tags) > 50
    assert [tag for tag in tags if EncoderConfig(pretrained=tag).pretrained != tag] == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder.pretrained .*/none.pt: there is no such file; give one that every"):
        build(EncoderConfig(pretrained=str(tmp_path / "none.pt")))


@pytest.mark.parametrize("model", ["local-dir:/models/a", "hf-hub:a/b", "s3://bucket/prefix"])
def test_a_place_takes_no_second_weights(model: str) -> None:
    """open_clip would leave them out without a word."""
    with pytest.raises(ValueError, match=r"says where the weights lie, so that encoder.pretrained must be null"):
        EncoderConfig(model=model, pretrained="openai")
