"""What makes a run of a language model another run, and what does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray.errors import ConfigError
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.engines.identity import model_digest, model_settings

MIB = 2**20


def settings(engine: str, **changes: Any) -> dict[str, Any]:
    return model_settings(MiningConfig(root="r", engine=engine, **{engine: changes}))


@pytest.mark.parametrize(
    "changes", [{"url": "http://127.0.0.1:9/v1/"}, {"concurrency": 3}, {"restart_wait_s": 3.0}], ids=str
)
def test_where_a_model_is_asked_is_no_part_of_a_run(changes: dict[str, Any]) -> None:
    assert settings("http", **changes) == settings("http")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "another"},
        {"max_tokens": 100},
        {"guided": "none"},
        {"timeout_s": 1.0},
        {"retries": 9},
        {"backoff_s": 9.0},
    ],
    ids=str,
)
def test_what_changes_an_answer_or_whether_there_is_one_is_part_of_a_run(changes: dict[str, Any]) -> None:
    assert settings("http", **changes) != settings("http")


def test_an_engine_is_its_weights_and_its_arguments(weights: Path) -> None:
    first = settings("vllm", model=str(weights))
    assert str(weights) not in json.dumps(first)
    assert settings("vllm", model=str(weights), replicas=2, batch_size=8) == first
    assert settings("vllm", model=str(weights), max_model_len=2048) != first
    assert settings("vllm", model=str(weights), engine_kwargs={"dtype": "float32"}) != first


def test_a_hub_name_stands_for_itself() -> None:
    assert model_digest("google/medgemma-4b-it") == "google/medgemma-4b-it"


@pytest.mark.parametrize("model", ["/nope", "./weights", "medgemma", "owner/name/more", "owner/na me", ""])
def test_what_is_no_model_says_what_is(model: str) -> None:
    with pytest.raises(ConfigError, match=r"neither a folder .* nor a name on the hub .*; set --vllm\.model"):
        model_digest(model)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that looks like a model of 3 MiB."""
    folder = tmp_path / "model"
    (folder / ".cache").mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [3, MIB // 2], "data_offsets": [0, 3 * MIB]}}).encode()
    whole = len(header).to_bytes(8, "little") + header + bytes(3 * MIB)
    (folder / "model.safetensors").write_bytes(whole)
    (folder / "config.json").write_text('{"hidden_size": 64}')
    (folder / "README.md").write_text("A model.")
    (folder / ".cache" / "seen.json").write_text("{}")
    return folder


def _change_bytes(name: str, at: int, new: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with (folder / name).open("r+b") as f:
            f.seek(at)
            f.write(new)

    return change


OTHERS: dict[str, Callable[[Path], None]] = {
    "configuration": lambda folder: (folder / "config.json").write_text('{"hidden_size": 65}') and None,
    "header": _change_bytes("model.safetensors", 20, b"F16"),
    "first weight": _change_bytes("model.safetensors", 4_000, b"\1"),
    "last weight": _change_bytes("model.safetensors", 3 * MIB, b"\1"),
    "all weights, as after a fine-tune": _change_bytes("model.safetensors", 200, b"\1" * (3 * MIB - 200)),
    "size": lambda folder: (folder / "model.safetensors").write_bytes(bytes(3 * MIB)) and None,
    "name": lambda folder: (folder / "config.json").rename(folder / "params.json") and None,
    "one file more": lambda folder: (folder / "chat_template.jinja").write_text("{{ m }}") and None,
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_model_has_another_digest(weights: Path, change: Callable[[Path], None]) -> None:
    before = model_digest(str(weights))
    change(weights)
    assert model_digest(str(weights)) != before


def test_the_same_model_has_the_same_digest_wherever_it_stands(weights: Path, tmp_path: Path) -> None:
    before = model_digest(str(weights))
    assert len(before) == 32
    copied = shutil.copytree(weights, tmp_path / "elsewhere")
    (copied / "README.md").write_text("The same model.")
    (copied / ".cache" / "seen.json").write_text("[]")
    assert model_digest(str(copied)) == model_digest(f"{copied}/") == before


def test_a_large_file_is_not_read_whole(weights: Path) -> None:
    """Its hole of 1 TiB would take hours."""
    with (weights / "model-2.safetensors").open("wb") as f:
        f.truncate(2**40)
    assert len(model_digest(str(weights))) == 32


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there are no weights at .*set --vllm\.model"):
        model_digest(str(tmp_path))


def test_weights_in_s3_are_their_objects(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")

    def put(key: str, data: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=key, Body=data)

    for name in ("config.json", "model.safetensors", "README.md"):
        put(f"models/m/{name}", b"one")
        put(f"models/m2/{name}", b"other")
    first = model_digest(f"s3://{BUCKET}/models/m")
    assert len(first) == 32
    put("models/m/README.md", b"two")
    put("models/m2/more.json", b"{}")
    assert model_digest(f"s3://{BUCKET}/models/m/") == first
    put("models/m/model.safetensors", b"two")  # as long as before: another ETag
    assert model_digest(f"s3://{BUCKET}/models/m") != first
    with pytest.raises(ConfigError, match="no weights"):
        model_digest(f"s3://{BUCKET}/models/none")
    with pytest.raises(ConfigError, match="cannot read the weights"):
        model_digest("s3://no-such-bucket/m")
