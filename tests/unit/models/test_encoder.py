"""The encoder: stored and loaded without loss, the same vector whoever stands beside, every refusal clear."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from wristmir_ray import storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.models.clip import Clip, build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.encoder import NAME, ClipEncoder, load_encoder, resize_square, save_encoder

CAPTIONS = [
    "Left wrist X-ray (PA view) showing Salter-Harris fracture in the distal radius, currently in healing stage.",
    "Ulnar styloid region showing no fracture.",
    "Right wrist X-ray.",
]


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    return build(EncoderConfig(init="random", fixed_batch=8))


@pytest.fixture(scope="module")
def root(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("archive"))
    _, files = save_encoder(root, "run1", clip)
    storage.publish(root, storage.Manifest(NAME, "run1", "test", files=files))
    return root


def squares(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (s, s), dtype=np.uint8) for s in rng.integers(20, 300, count)]


def test_a_published_encoder_gives_the_same_vectors_to_the_last_bit(clip: Clip, root: str) -> None:
    loaded, made = load_encoder(root), ClipEncoder(clip, "made here")
    images = squares(11)
    vectors = loaded.encode_images(images)
    assert vectors.shape == (11, loaded.dim)
    assert vectors.dtype == np.float32
    assert (loaded.dim, loaded.image_size) == (128, 64)
    assert np.array_equal(vectors, made.encode_images(images))
    assert np.array_equal(loaded.encode_texts(CAPTIONS), made.encode_texts(CAPTIONS))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert len(loaded.digest) == 32


def test_without_its_text_tower_it_gives_the_same_vectors(root: str) -> None:
    whole, images_alone = load_encoder(root), load_encoder(root, texts=False)
    images = squares(11)
    assert np.array_equal(images_alone.encode_images(images), whole.encode_images(images))
    assert images_alone.digest == whole.digest
    held = {name.split(".")[0] for name, _ in images_alone.model.named_parameters()}
    assert held == {"visual", "logit_scale"}


def test_open_clip_itself_loads_the_folder(clip: Clip, root: str) -> None:
    import open_clip

    model = open_clip.create_model(f"local-dir:{storage.run_uri(root, NAME, 'run1')}")
    for name, value in clip.model.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


def test_a_vector_does_not_depend_on_its_neighbours(root: str) -> None:
    encoder = load_encoder(root)
    images = squares(19)
    together = encoder.encode_images(images)
    assert np.array_equal(together[[4]], encoder.encode_images([images[4]]))
    assert np.array_equal(together[::-1], encoder.encode_images(images[::-1]))
    assert encoder.encode_images([]).shape == (0, encoder.dim)


def test_nor_does_a_text_s(root: str) -> None:
    encoder = load_encoder(root)
    texts = [f"{'distal radius ' * (i % 3)}region showing buckle fracture {i}" for i in range(19)]
    together = encoder.encode_texts(texts)
    assert np.array_equal(together, np.concatenate([encoder.encode_texts([t]) for t in texts]))
    assert np.array_equal(together[::-1], encoder.encode_texts(texts[::-1]))
    assert encoder.encode_texts([]).shape == (0, encoder.dim)


def test_padding_beyond_the_longest_text_changes_nothing(clip: Clip) -> None:
    clip.model.eval()
    short = clip.tokens(CAPTIONS)
    full = clip.tokenizer(CAPTIONS)
    assert short.shape[1] < full.shape[1] == 77
    with torch.inference_mode():
        assert torch.allclose(clip.model.encode_text(short), clip.model.encode_text(full), atol=1e-5)


def test_images_are_prepared_as_open_clip_prepares_them(clip: Clip) -> None:
    """Bicubic with antialiasing, RGB, mean and deviation: within the rounding of PIL's draft reduction."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from wristmir_ray.models.encoder import normalise, pixel_statistics

    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (20, 20)), np.ones((12, 12))).astype(np.uint8)
    transform = image_transform_v2(PreprocessCfg(**open_clip.get_model_preprocess_cfg(clip.model)), is_train=False)
    wanted = transform(Image.fromarray(smooth))
    x = torch.from_numpy(resize_square(smooth, 64).copy())[None].float() / 255
    ours = normalise(x, *pixel_statistics(clip))[0]
    assert ours.shape == wanted.shape == (3, 64, 64)
    assert (ours - wanted).abs().mean() < 0.02


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((0, 0), np.uint8),
    ],
)
def test_what_is_no_grey_square_is_refused(root: str, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 squares"):
        load_encoder(root).encode_images([image])


def test_the_digest_tells_weights_apart(clip: Clip, root: str, tmp_path: Path) -> None:
    digest, _ = save_encoder(str(tmp_path), "again", clip)
    assert digest == load_encoder(root).digest
    torch.manual_seed(1)
    other, _ = save_encoder(str(tmp_path), "other", build(EncoderConfig(init="random")))
    assert other != digest


def test_nothing_published_and_damaged_files_are_said(clip: Clip, tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="nothing is published as 'encoder'"):
        load_encoder(str(tmp_path))
    _, files = save_encoder(str(tmp_path), "run1", clip)
    storage.publish(str(tmp_path), storage.Manifest(NAME, "run1", "test", files=files))
    weights = tmp_path / NAME / "runs" / "run1" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(NotPublished, match="damaged"):
        load_encoder(str(tmp_path))
    weights.unlink()
    with pytest.raises(NotPublished, match="lacks files"):
        load_encoder(str(tmp_path))


def test_no_path_of_this_machine_is_published(root: str) -> None:
    folder = Path(storage.run_uri(root, NAME, "run1"))
    for file in folder.glob("*.json"):
        assert "/tmp" not in file.read_text(), file.name
        json.loads(file.read_text())
