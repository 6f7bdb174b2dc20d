"""Where an encoder's files come from (a folder, S3, the Hub), and weights read without running a pickle.

A name says where: `local-dir:FOLDER`, `s3://BUCKET/PREFIX`, `hf-hub:ORG/NAME` or `hf-hub:datasets/ORG/NAME`.
A prefix on S3 holds what a folder would; it is copied once, to a local folder that its content names.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError

if TYPE_CHECKING:
    import torch

LOCAL = "local-dir:"
HUB = "hf-hub:"
CACHE = "wristmir-encoders"
WORDS = ("*.json", "*.txt")
"""Files of a tokenizer and of configurations."""
_OF_A_MODEL = (*WORDS, "*.bin", "*.pt", "*.pth", "*.safetensors")
_NAMED = 6
"""Keys named in an error; their number is said too."""


def is_place(model: str) -> bool:
    """Return whether a name says where a model's files lie; else it is the name of an architecture."""
    return model.startswith((LOCAL, HUB)) or storage.is_s3(model)


def local_name(model: str) -> str:
    """Return the name itself, or `local-dir:` of the local copy of a prefix on S3.

    Raises:
        ConfigError: nothing lies there, or the store cannot be reached.
    """
    return LOCAL + str(_copied(model)) if storage.is_s3(model) else model


def folder_of(model: str, patterns: Sequence[str] = _OF_A_MODEL) -> Path:
    """Return a local folder with the files of a place; from the Hub, those that match alone.

    Raises:
        ConfigError: there is no such folder, the store or the Hub cannot be reached.
    """
    if model.startswith(HUB):
        return _from_hub(model.removeprefix(HUB), patterns)
    folder = Path(local_name(model).removeprefix(LOCAL))
    if not folder.is_dir():
        raise ConfigError(f"encoder.model {model}: there is no such folder")
    return folder


def check_file(pretrained: str) -> None:
    """Raise ConfigError where `encoder.pretrained` names a file that is not there."""
    if not Path(pretrained).is_file():
        raise ConfigError(
            f"encoder.pretrained {pretrained}: there is no such file; give one that every node of the cluster has, or "
            "a tag of open_clip"
        )


def _from_hub(name: str, patterns: Sequence[str]) -> Path:
    import huggingface_hub

    repo = name.removeprefix("datasets/")
    try:
        kind = "model" if repo == name else "dataset"
        return Path(huggingface_hub.snapshot_download(repo, repo_type=kind, allow_patterns=list(patterns)))
    except Exception as e:
        raise ConfigError(
            f"encoder.model {HUB}{name} cannot be fetched ({type(e).__name__}); {how_to_fetch(HUB + name)}"
        ) from None


def how_to_fetch(model: str) -> str:
    """Return what to do, where there is a network, for a model of the Hub that cannot be reached from here."""
    repo = model.removeprefix(HUB)
    dataset = " --repo-type dataset" if repo.startswith("datasets/") else ""
    repo = repo.removeprefix("datasets/")
    return (
        f"fetch it where there is a network: hf download {repo}{dataset} --local-dir FOLDER; then set encoder.model to "
        f"{LOCAL}FOLDER, or copy the folder to S3 and name its s3:// prefix"
    )


def _copied(uri: str) -> Path:
    """Return the local copy of a prefix; it is named by its objects' names, sizes and ETags, and appears whole."""
    try:
        client, bucket, prefix = storage.s3_client(storage.join(uri, ""))
        prefix = prefix.rstrip("/") + "/"
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        objects = sorted((o["Key"], o["Size"], o["ETag"]) for page in pages for o in page.get("Contents", ()))
        if not objects:
            raise ConfigError(f"encoder.model {uri}: nothing lies there; copy the model's files below this prefix")
        target = Path(tempfile.gettempdir()) / CACHE / keys.digest(bucket, *(str(part) for o in objects for part in o))
        if not target.is_dir():
            _whole(target, lambda to: [client.download_file(bucket, k, str(to / Path(k).name)) for k, *_ in objects])
    except ConfigError:
        raise
    except Exception as e:
        raise ConfigError(
            f"encoder.model {uri} cannot be read ({type(e).__name__}); check its name, AWS_ENDPOINT_URL and keys"
        ) from None
    return target


def _whole(target: Path, fill: Callable[[Path], Any]) -> None:
    """Fill a folder and rename it into place; another process may have been faster, with the same files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=target.parent, prefix=".making-"))
    try:
        fill(making)
        os.replace(making, target)
    except OSError:
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def read_state(path: Path) -> dict[str, "torch.Tensor"]:
    """Return the tensors of a checkpoint by name.

    What wraps them is taken off: a `state_dict` entry, and the `module.` of data-parallel training.

    Raises:
        ConfigError: it cannot be read, or holds more than tensors and plain values: it is not opened then.
    """
    import torch

    held = _read(path)
    state = held.get("state_dict", held) if isinstance(held, dict) else None
    if not isinstance(state, dict):
        raise ConfigError(f"weights {path} hold no state_dict")
    tensors = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)}
    if tensors and all(k.startswith("module.") for k in tensors):
        tensors = {k.removeprefix("module."): v for k, v in tensors.items()}
    return tensors


def read_tensor(path: Path) -> "torch.Tensor":
    """Return the one tensor of a file; ConfigError as in `read_state`."""
    import torch

    held = _read(path)
    if not isinstance(held, torch.Tensor):
        raise ConfigError(f"weights {path} hold something else than one tensor")
    return held.detach()


def _read(path: Path) -> Any:
    """Return what a file holds: safetensors, or torch's format with nothing but tensors and plain values allowed."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        raise ConfigError(
            f"weights {path} cannot be read ({type(e).__name__}): the file is damaged, or holds objects that would run "
            "code, which is refused; save its state_dict alone"
        ) from None


def load_exactly(
    module: "torch.nn.Module",
    state: Mapping[str, "torch.Tensor"],
    name_here: Callable[[str], str | None],
    where: str,
) -> None:
    """Load a checkpoint in other names, with every key accounted for.

    Args:
        module: what is filled.
        state: tensors in the original's names.
        name_here: the original's name -> ours; None for a tensor that is known and not needed; KeyError for
            one that is not known.
        where: the file or folder, for errors.

    Raises:
        ConfigError: a key is missing, surplus, or of another shape; the message names keys.
    """
    wanted = module.state_dict()
    mapped: dict[str, torch.Tensor] = {}
    surplus: list[str] = []
    for theirs, tensor in state.items():
        try:
            ours = name_here(theirs)
        except KeyError:
            surplus.append(theirs)
            continue
        if ours is not None and ours not in wanted:
            surplus.append(theirs)
        elif ours is not None:
            mapped[ours] = tensor
    shapes = [k for k, v in mapped.items() if v.shape != wanted[k].shape]
    _complain(where, {"missing": wanted.keys() - mapped.keys(), "surplus": surplus, "of another shape": shapes})
    module.load_state_dict(mapped)


def _complain(where: str, faults: Mapping[str, Collection[str]]) -> None:
    said = [
        f"{len(names)} {fault} ({', '.join(sorted(names)[:_NAMED])}{', ...' if len(names) > _NAMED else ''})"
        for fault, names in faults.items()
        if names
    ]
    if said:
        raise ConfigError(f"weights {where} do not fit the architecture: {'; '.join(said)}; give the published ones")
