"""Texts to tokens, by the tokenizer that belongs to an open_clip model."""

import functools
from typing import TYPE_CHECKING, Any

from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights

if TYPE_CHECKING:
    import torch


class Tokenizer:
    """open_clip's tokenizer of a model, made when first used (a random-weight model may have no vocabulary)."""

    def __init__(self, name: str, text_cfg: dict[str, Any]) -> None:
        self._name = name
        self._text_cfg = text_cfg

    @functools.cached_property
    def hub(self) -> Any:
        """The tokenizer itself."""
        import open_clip

        length = self._text_cfg.get("context_length")
        source = self._text_cfg.get("hf_tokenizer_name")
        try:
            if source and not self._name.startswith(weights.LOCAL):
                return self._of_the_hub(source)
            return open_clip.get_tokenizer(self._name, context_length=length)
        except Exception as e:
            raise ConfigError(
                f"cannot load the tokenizer of '{self._name}' ({type(e).__name__}); a local-dir: folder must hold its "
                "tokenizer files"
            ) from e

    def _of_the_hub(self, source: str) -> Any:
        """Return the tokenizer that the configuration names, or the one beside the model's own weights."""
        from open_clip.tokenizer import HFTokenizer

        length = self._text_cfg.get("context_length")
        try:
            return HFTokenizer(source, context_length=length)
        except Exception:
            if not self._name.startswith(weights.HUB):
                raise
            beside = weights.folder_of(self._name, weights.WORDS)
            return HFTokenizer(str(beside), context_length=length)

    def __call__(self, texts: list[str]) -> "torch.Tensor":
        tokens: torch.Tensor = self.hub(texts)
        return tokens
