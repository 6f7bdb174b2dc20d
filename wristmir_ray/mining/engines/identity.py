"""What of a model and its settings makes an answer another one: the identity of a run."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.mining.config import MiningConfig

_HTTP = {"model", "max_tokens", "guided", "timeout_s", "retries", "backoff_s"}
_VLLM = {"max_model_len", "max_tokens", "engine_kwargs"}
_MODEL_FILES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".model", ".json", ".jinja")
"""Weights, configuration, tokenizer, chat template; a README changes no answer."""
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_SMALL_BYTES = 2**20
_LONGEST_HEADER = 100 * 2**20
"""Of a safetensors file, by its definition."""
_SAMPLES, _SAMPLE_BYTES = 64, 4096


def model_settings(config: MiningConfig) -> dict[str, Any]:
    """Return what changes answers, or whether a report has one; where the model is served changes neither.

    `http`: the model's name, how it is asked, and the patience with one report (`timeout_s`, `retries`,
    `backoff_s`), so that a rerun with more of it asks again. `restart_wait_s` is no part of it: an
    endpoint that stays away ends the job and rejects nothing, and a longer wait resumes it.
    `vllm`: `model_digest` as the model, the limits of tokens, the engine's arguments.
    """
    if config.engine == "http":
        return config.http.model_dump(mode="json", include=_HTTP)
    return {"model": model_digest(config.vllm.model), **config.vllm.model_dump(mode="json", include=_VLLM)}


def model_digest(model: str) -> str:
    """Return what tells a model's weights from others, without reading them whole.

    - A folder on this machine: a hash over the files below it that make a model (weights, configuration,
      tokenizer, chat template; nothing hidden), sorted by name. Of each: its name below the folder, its size,
      and up to 1 MiB all its bytes; of a larger one 64 pieces of 4 KiB, evenly spread from its first byte to its last,
      and of a safetensors file its whole header. Where the folder stands does not matter.
    - An s3:// prefix: a hash over name, size and ETag of those files.
    - Anything else is a name on the hub, and stands for itself.

    Raises:
        ConfigError: the folder or prefix holds no such file, or cannot be read; or it is no such name.
    """
    if not (storage.is_s3(model) or os.path.isdir(model)):
        if not _HUB_NAME.fullmatch(model):
            raise ConfigError(
                f"{model} is neither a folder on this machine, nor an s3:// prefix, nor a name on the hub "
                "(owner/name); set --vllm.model"
            )
        return model
    try:
        parts = [*(_objects(model) if storage.is_s3(model) else _files(Path(model)))]
    except Exception as e:  # boto3's and botocore's errors share no root with OSError
        raise ConfigError(f"cannot read the weights at {model} ({type(e).__name__}); set --vllm.model") from None
    if not parts:
        raise ConfigError(f"there are no weights at {model}; set --vllm.model")
    return keys.digest("weights", *parts)


def _objects(prefix: str) -> Iterator[str]:
    import boto3

    bucket, _, key = prefix.removeprefix("s3://").partition("/")
    below = f"{key.rstrip('/')}/" if key else ""
    for page in boto3.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=below):
        for found in page.get("Contents", ()):
            name = found["Key"].removeprefix(below)
            if _makes_a_model(name):
                yield from (name, str(found["Size"]), found["ETag"])


def _files(folder: Path) -> Iterator[str | bytes]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    for name in filter(_makes_a_model, names):
        yield name
        yield from _pieces(folder / name)


def _makes_a_model(name: str) -> bool:
    return name.endswith(_MODEL_FILES) and not any(part.startswith(".") for part in name.split("/"))


def _pieces(path: Path) -> Iterator[str | bytes]:
    size = path.stat().st_size
    yield str(size)
    with path.open("rb") as f:
        if size <= _SMALL_BYTES:
            yield f.read()
            return
        if path.suffix == ".safetensors":  # eight bytes of length, then names, types and places of the tensors
            yield f.read(min(int.from_bytes(f.read(8), "little"), _LONGEST_HEADER))
        for i in range(_SAMPLES):
            f.seek((size - _SAMPLE_BYTES) * i // (_SAMPLES - 1))
            yield f.read(_SAMPLE_BYTES)
