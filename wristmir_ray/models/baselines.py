"""The paper's other baselines, PMC-CLIP and MedCLIP, behind the same `Clip` (WristMIR §4, Tables 1 and 2)."""

import functools
import json
import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights
from wristmir_ray.models.clip import WEIGHTS, Clip
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "architecture.json"
VOCABULARY = "vocab.txt"


def build(config: EncoderConfig) -> Clip:
    """Make a baseline, from released weights in their own names or from random ones.

    Raises:
        ConfigError: weights or vocabulary are missing (the message says what to fetch, and where to put it) or do
            not fit; a setting that these models do not have.
    """
    family = _family(config.kind)
    for setting in ("image_size", "context_length", "pretrained"):
        if getattr(config, setting) is not None:
            raise ConfigError(f"encoder.{setting} is open_clip's alone; leave it out for kind {config.kind}")
    if config.init == "random":
        if config.model not in family.VARIANTS:
            raise ConfigError(f"kind {config.kind} has no architecture '{config.model}': {', '.join(family.VARIANTS)}")
        described = family.architecture(config.model)
        return Clip(family.make(described), Words(None, described, family.FETCH), described, config.fixed_batch)
    if not weights.is_place(config.model):
        raise ConfigError(
            f"encoder.kind {config.kind} needs released weights; {family.FETCH}, and set encoder.model to "
            f"{weights.LOCAL}FOLDER, or copy the folder to S3 and name its s3:// prefix"
        )
    folder = weights.folder_of(config.model)
    variant, state = family.read(folder)
    described = family.architecture(variant)
    words = Words(folder, described, family.FETCH)
    _ = words.hub  # a vocabulary that is missing is missed before any work
    model = family.make(described)
    weights.load_exactly(model, state, family.name_here, str(folder))
    return Clip(model, words, described, config.fixed_batch)


def to_files(clip: Clip) -> dict[str, bytes]:
    """Return a baseline as the files of a published encoder, in our names."""
    from safetensors.torch import save

    state = {k: v.detach().cpu().contiguous() for k, v in clip.model.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        clip.tokenizer.hub.save_pretrained(folder)
        files = {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}
    described = json.dumps(clip.architecture, indent=1, sort_keys=True).encode()
    return {**files, WEIGHTS: save(state), ARCHITECTURE: described}


def from_files(files: dict[str, bytes], fixed_batch: int | None = None) -> Clip:
    """Return the model of `to_files`; ConfigError where weights and architecture do not fit."""
    from safetensors.torch import load

    described = json.loads(files[ARCHITECTURE])
    family = _family(described["kind"])
    model = family.make(described)
    weights.load_exactly(model, load(files[WEIGHTS]), lambda name: name, "of the published encoder")
    with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
        for name in files.keys() - {WEIGHTS}:
            (Path(folder) / name).write_bytes(files[name])
        words = Words(Path(folder), described, family.FETCH)
        _ = words.hub  # reads the folder, which is about to go
    return Clip(model, words, described, fixed_batch)


class Words(Tokenizer):
    """BERT's tokenizer of a baseline, made when first used (a random-weight model may have no vocabulary)."""

    def __init__(self, folder: Path | None, described: dict[str, Any], fetch: str) -> None:
        super().__init__(described["kind"], described["model_cfg"]["text_cfg"])
        self._folder = folder
        self._fetch = fetch

    @functools.cached_property
    def hub(self) -> Any:
        """transformers' own.

        Raises:
            ConfigError: there is no vocabulary, or one of another model.
        """
        from transformers import BertTokenizer

        known = (VOCABULARY, "tokenizer.json")
        if self._folder is None or not any((self._folder / name).is_file() for name in known):
            raise ConfigError(f"there is no {VOCABULARY} beside the weights; {self._fetch}")
        try:
            found = BertTokenizer.from_pretrained(self._folder)
        except Exception as e:
            raise ConfigError(
                f"{self._folder}: its tokenizer cannot be read ({type(e).__name__}); {self._fetch}"
            ) from None
        if len(found) > self._text_cfg["vocab_size"]:
            raise ConfigError(f"{self._folder}: its vocabulary is another model's ({len(found)} words); {self._fetch}")
        return found

    def __call__(self, texts: list[str]) -> "torch.Tensor":
        """Return int64 (T, L), padded to the context."""
        length = self._text_cfg["context_length"]
        tokens = self.hub(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
        ids: torch.Tensor = tokens.input_ids
        return ids


def _family(kind: str) -> ModuleType:
    """Return the module of a kind: VARIANTS, FETCH, architecture, make, read, name_here."""
    if kind == "pmc_clip":
        from wristmir_ray.models import pmc_clip

        return pmc_clip
    from wristmir_ray.models import medclip

    return medclip
