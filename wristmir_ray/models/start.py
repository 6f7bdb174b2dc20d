"""What a model starts from, as one hash: architecture, tokenizer, and weights where they are given."""

import hashlib
import json

from wristmir_ray.models import clip as clips
from wristmir_ray.models import weights
from wristmir_ray.models.config import EncoderConfig


def starts_from_files(config: EncoderConfig) -> bool:
    """Return whether files say what a model starts from; else its name, a seed and our code do."""
    return config.init == "pretrained" or weights.is_place(config.model)


def starting_digest(clip: clips.Clip, config: EncoderConfig) -> str:
    """Return what tells a model's start from another's, wherever its files lie and whatever they are called.

    Its content is read once, from memory, so that a folder, a copy of it on S3 and a file of the same tensors in
    another format are one start.

    Args:
        clip: as it was built, before any of it was trained.
        config: what it was built from.

    Returns:
        32 hex digits; empty where no files say it.
    """
    if not starts_from_files(config):
        return ""
    h = hashlib.sha256(json.dumps(clip.architecture, sort_keys=True).encode())
    for name, data in sorted(clips.text_files(clip).items()):
        h.update(f"\0{name}\0{len(data)}\0".encode() + data)
    if config.init == "pretrained":
        _add_tensors(h, clip)
    return h.hexdigest()[:32]


def _add_tensors(h: "hashlib._Hash", clip: clips.Clip) -> None:
    import torch

    for name, tensor in sorted(clip.model.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        h.update(f"\0{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        h.update(plain.reshape(-1).view(torch.uint8).numpy())
