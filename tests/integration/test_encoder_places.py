"""Encoders from a bucket, and an index over an encoder that nobody trained."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.tiny_world import World, make_world
from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights
from wristmir_ray.models.clip import Clip, build, to_files
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import ClipEncoder, load_encoder
from wristmir_ray.retrieval import pipeline
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import Index


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(7)
    return build(EncoderConfig(init="random"))


def test_a_prefix_on_s3_is_copied_once_and_whole(
    clip: Clip, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = f"s3://{BUCKET}/models/ours"
    with pytest.raises(ConfigError, match="nothing lies there; copy the model's files below this prefix"):
        build(EncoderConfig(model=place))
    for name, data in to_files(clip).items():
        storage.write_bytes(storage.join(place, name), data)
    storage.write_bytes(storage.join(place, "examples", "model.safetensors"), b"of a folder below")
    images = [np.random.default_rng(0).integers(0, 256, (70, 70), dtype=np.uint8)]
    wanted = ClipEncoder(clip, "made").encode_images(images)
    assert np.array_equal(ClipEncoder(build(EncoderConfig(model=place)), "s3").encode_images(images), wanted)
    (copy,) = (tmp_path / weights.CACHE).iterdir()
    assert {p.name for p in copy.iterdir()} == set(to_files(clip))
    before = copy.stat().st_mtime_ns
    build(EncoderConfig(model=place + "/"))
    assert [p.stat().st_mtime_ns for p in (tmp_path / weights.CACHE).iterdir()] == [before]
    torch.manual_seed(8)
    for name, data in to_files(build(EncoderConfig(init="random"))).items():
        storage.write_bytes(storage.join(place, name), data)
    other = ClipEncoder(build(EncoderConfig(model=place)), "other").encode_images(images)
    assert not np.array_equal(other, wanted), "new objects under the old names are another model"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"cannot be read .*; check its name, AWS_ENDPOINT_URL and keys"):
        build(EncoderConfig(model=place))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), exams=6)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_an_encoder_that_nobody_trained_is_published_with_the_index(clip: Clip, world: World, tmp_path: Path) -> None:
    for name, data in to_files(clip).items():
        (tmp_path / name).write_bytes(data)
    trained = storage.published(world.root, "encoder").run_id
    config = RetrievalConfig(
        root=world.root, ray={"progress": False}, encoder={"model": f"local-dir:{tmp_path}"}, embed={"batch_size": 16}
    )
    summary = pipeline.run(config)
    encoder = load_encoder(world.root)
    assert storage.published(world.root, "encoder").run_id != trained
    assert summary.facts["digest"] == encoder.digest == Index.load(world.root).encoder_digest
    assert pipeline.run(config).skipped
    back = pipeline.run(config.with_(encoder={"init": "random"}))
    assert back.facts["digest"] == load_encoder(world.root).digest != encoder.digest
    with pytest.raises(ConfigError, match=r"kind medclip needs released weights; fetch pytorch_model.bin"):
        pipeline.run(config.with_(encoder={"kind": "medclip"}))
    assert load_encoder(world.root).digest == back.facts["digest"]
