"""The encoder: uint8 squares and texts in, unit-norm vectors out (WristMIR §3.1, Eq. 1)."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from wristmir_ray import keys, storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.models import clip as clips
from wristmir_ray.models.config import EncoderConfig

NAME = "encoder"
CARD = "encoder.json"
_CHUNK = 64


class Encoder(Protocol):
    """What retrieval, serving and evaluation need of an encoder."""

    digest: str
    """Hash of weights and architecture: two encoders with one digest give the same vectors."""
    dim: int
    image_size: int

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 (N, D), unit norm, of uint8 grey squares of any side."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (N, D), unit norm."""
        ...


class ClipEncoder:
    """An open_clip model as an `Encoder`."""

    def __init__(self, clip: clips.Clip, digest: str, device: str = "cpu") -> None:
        import torch

        self.digest = digest
        self.dim = clip.dim
        self.image_size = clip.image_size
        self._clip = clip
        self._device = torch.device(device)
        self.model = clip.model.eval().to(device=self._device, memory_format=torch.channels_last)
        self._mean, self._std = pixel_statistics(clip)
        self._resize = partial(
            resize_square,
            interpolation=clip.architecture["preprocess_cfg"].get("interpolation", "bicubic"),
            pad_small=clip.architecture["preprocess_cfg"].get("pad_small", False),
        )

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return float32 (N, D), unit norm, of uint8 grey squares of any side.

        Each is prepared as the model's own code does: resized, repeated over three channels, normalised by
        the model's mean and standard deviation (WristMIR App. C).
        """
        import torch

        fixed = self._clip.fixed_batch
        chunk = fixed or _CHUNK
        out = np.empty((len(images), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(images), chunk):
                squares = self.squares(images[start : start + chunk])
                x = self.pixels(squares, fixed or len(squares))
                features = self.model.encode_image(x, normalize=True)[: len(squares)]
                out[start : start + len(squares)] = features.float().cpu().numpy()
        return out

    def squares(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return uint8 (N, S, S): what the model sees of each, at its own size."""
        out = np.zeros((len(images), self.image_size, self.image_size), np.uint8)
        for i, image in enumerate(images):
            out[i] = self._resize(image, self.image_size)
        return out

    def pixels(self, squares_NSS: np.ndarray, count: int) -> Any:
        """Return the model's input, float32 (count, 3, S, S) on its device: the squares, black ones after them."""
        import torch

        grey = np.zeros((count, *squares_NSS.shape[1:]), np.uint8)
        grey[: len(squares_NSS)] = squares_NSS
        x = torch.from_numpy(grey).to(self._device).float().div_(255)
        return normalise(x, self._mean, self._std)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (N, D), unit norm.

        Where image batches are fixed, each text is read alone, at its own length: its vector, too, hangs on no other's.
        """
        import torch

        chunk = 1 if self._clip.fixed_batch else _CHUNK
        out = np.empty((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), chunk):
                tokens = self._clip.tokens(list(texts[start : start + chunk])).to(self._device)
                features = self.model.encode_text(tokens, normalize=True)
                out[start : start + len(tokens)] = features.float().cpu().numpy()
        return out


def resize_square(gray: np.ndarray, size: int, interpolation: str = "bicubic", pad_small: bool = False) -> np.ndarray:
    """Return uint8 (size, size) of a uint8 square by antialiased interpolation, as open_clip does.

    Args:
        gray: uint8 (S, S).
        size: side in pixels.
        interpolation: bicubic or bilinear.
        pad_small: set a square below `size` into the middle of zeros instead of enlarging it, as MedCLIP does.

    Raises:
        ValueError: not a grey 8-bit square; crops are padded to squares before.
    """
    from PIL import Image

    if gray.ndim != 2 or gray.shape[0] != gray.shape[1] or gray.dtype != np.uint8 or not gray.size:
        raise ValueError(f"an encoder takes uint8 squares, not {gray.dtype} {gray.shape}")
    if gray.shape[0] == size:
        return gray
    if gray.shape[0] < size and pad_small:
        out, first = np.zeros((size, size), np.uint8), (size - gray.shape[0]) // 2
        out[first : first + gray.shape[0], first : first + gray.shape[0]] = gray
        return out
    small = Image.fromarray(gray).resize((size, size), Image.Resampling[interpolation.upper()])
    return np.asarray(small, np.uint8)


def pixel_statistics(clip: clips.Clip) -> tuple[list[float], list[float]]:
    """Return the three channels' mean and standard deviation that the model was trained with."""
    preprocess = clip.architecture["preprocess_cfg"]
    return list(preprocess["mean"]), list(preprocess["std"])


def normalise(x_BHW: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Return (B, 3, H, W), channels last, of grey images in [0, 1]: repeated over RGB, then (x - mean) / std."""
    import torch

    mean_C11 = torch.tensor(mean, device=x_BHW.device, dtype=x_BHW.dtype)[:, None, None]
    std_C11 = torch.tensor(std, device=x_BHW.device, dtype=x_BHW.dtype)[:, None, None]
    return ((x_BHW[:, None] - mean_C11) / std_C11).contiguous(memory_format=torch.channels_last)


def encoder_files(clip: clips.Clip) -> dict[str, bytes]:
    """Return the files of a published encoder: open_clip's folder and `encoder.json` with the digest."""
    files = clips.to_files(clip)
    card = {
        "digest": _digest(files),
        "dim": clip.dim,
        "image_size": clip.image_size,
        "fixed_batch": clip.fixed_batch,
        "files": sorted(files),
    }
    return {**files, CARD: json.dumps(card, indent=1, sort_keys=True).encode()}


def save_encoder(root: str, run_id: str, clip: clips.Clip) -> tuple[str, list[str]]:
    """Store an encoder in its run folder and return (digest, file names); the caller publishes the run."""
    files = encoder_files(clip)
    for name, data in files.items():
        storage.write_bytes(storage.join(storage.run_uri(root, NAME, run_id), name), data)
    return json.loads(files[CARD])["digest"], sorted(files)


def publish_pretrained(root: str, config: EncoderConfig, job: str) -> storage.Manifest:
    """Publish an encoder as it is, without training: a baseline of the paper (WristMIR Tables 1 and 2).

    Its run is named by its weights and architecture, so that the same encoder is the same run. Random
    weights, a control, are those of seed 0.

    Raises:
        ConfigError: the weights are missing or do not fit; the message says what to fetch.
    """
    import torch

    torch.manual_seed(0)
    clip = clips.build(config)
    files = encoder_files(clip)
    card = json.loads(files[CARD])
    run_id = keys.run_id("pretrained_encoder", {"digest": card["digest"], "fixed_batch": config.fixed_batch}, {}, "")
    done = storage.find_run(root, NAME, run_id)
    if done:
        storage.point_to(root, NAME, run_id)
        return done
    for name, data in files.items():
        storage.write_bytes(storage.join(storage.run_uri(root, NAME, run_id), name), data)
    return storage.publish(
        root,
        storage.Manifest(
            NAME,
            run_id,
            job,
            files=sorted(files),
            config={"encoder": config.model_dump(mode="json")},
            metrics={"digest": card["digest"], "kind": clip.kind},
        ),
    )


def load_encoder(root: str, run_id: str | None = None, device: str | None = None, texts: bool = True) -> ClipEncoder:
    """Return the published encoder; no pickle, no network.

    Args:
        root: folder or s3:// prefix.
        run_id: pinned run; default the current one.
        device: torch device; default the GPU where this process has one, as Ray gives a worker that reserved it.
        texts: false leaves the text tower out, for one that encodes images alone: 400 MB of BiomedCLIP's.

    Raises:
        NotPublished: there is none, or its files are not those that were published.
    """
    manifest = storage.published(root, NAME, run_id)
    folder = storage.run_uri(root, NAME, manifest.run_id)
    try:
        card = json.loads(storage.read_bytes(storage.join(folder, CARD)))
        files = {name: storage.read_bytes(storage.join(folder, name)) for name in card["files"]}
    except FileNotFoundError:
        raise NotPublished(f"run {manifest.run_id} of '{NAME}' under {root} lacks files; train it again") from None
    if _digest(files) != card["digest"]:
        raise NotPublished(f"run {manifest.run_id} of '{NAME}' under {root} was damaged; train it again")
    clip = clips.from_files(files, card["fixed_batch"])
    if not texts:
        del clip.model.text
    return ClipEncoder(clip, card["digest"], device or _device())


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _digest(files: dict[str, bytes]) -> str:
    """Return the hash of all files' names and bytes, in the order of their names."""
    h = hashlib.sha256()
    for name in sorted(files):
        h.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return h.hexdigest()[:32]
