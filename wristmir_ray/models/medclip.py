"""MedCLIP: Swin-tiny or ResNet-50 and Bio_ClinicalBERT in 512 dimensions (Wang et al., EMNLP 2022).

The text tower averages three hidden layers over all tokens, padding included, so that in its own code a
text's vector depends on the longest text beside it. Here each text is read as if it stood alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights
from wristmir_ray.models.two_towers import UNUSED_OF_BERT, TwoTowers, bert

VARIANTS = ("medclip_vit", "medclip_resnet")
FETCH = (
    "fetch pytorch_model.bin (in storage.googleapis.com/pytrial/medclip-vit-pretrained.zip, as "
    "github.com/RyanWangZf/MedCLIP says) and vocab.txt of huggingface.co/emilyalsentzer/Bio_ClinicalBERT into a folder"
)
FILE = "pytorch_model.bin"

_DIM, _PAD = 512, 0
_LAYERS = (1, 2, -1)
_SWIN = {
    "attention.self.query.": "attention.q_proj.",
    "attention.self.key.": "attention.k_proj.",
    "attention.self.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
    "attention.self.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
}
"""Parts of a Swin block's names, as the release has them and as the installed transformers has them."""
_SWIN_BLOCK = re.compile(r"(encoder\.layers\.\d+\.blocks\.\d+\.)(.+)")


class Swin(nn.Module):
    """The mean of Swin-tiny's last tokens, projected."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import SwinConfig, SwinModel

        self.swin = SwinModel(SwinConfig())  # its defaults are microsoft/swin-tiny-patch4-window7-224
        self.projection = nn.Linear(768, _DIM, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 512) of float (B, 3, 224, 224)."""
        features: Tensor = self.projection(self.swin(image).pooler_output)
        return features


class ResNet(nn.Module):
    """ResNet-50 whose last layer is the projection."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        self.resnet = resnet50(weights=None)
        self.resnet.fc = nn.Linear(2048, _DIM, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 512) of float (B, 3, 224, 224)."""
        features: Tensor = self.resnet(image)
        return features


class Text(nn.Module):
    """The mean over tokens of the first, second and last layer's states, projected."""

    neutral_padding = _PAD

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bert = bert(vocab_size)
        self.projection = nn.Linear(768, _DIM, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, 512) of int64 (B, L), a text's padding without effect."""
        length_B = tokens.ne(_PAD).sum(1)
        out = tokens.new_zeros((len(tokens), _DIM), dtype=self.projection.weight.dtype)
        for length in sorted(set(length_B.tolist())):
            same = length_B == length
            states = self.bert(input_ids=tokens[same, :length], output_hidden_states=True).hidden_states
            pooled = torch.stack([states[i] for i in _LAYERS]).mean((0, 2))
            out = out.index_put((same.nonzero()[:, 0],), self.projection(pooled).to(out.dtype))
        return out


def architecture(variant: str) -> dict[str, Any]:
    """Return the description that travels with the weights."""
    return {
        "kind": "medclip",
        "model_cfg": {
            "embed_dim": _DIM,
            "vision_cfg": {"image_size": 224, "variant": variant},
            "text_cfg": {"context_length": 77, "vocab_size": 28996},
        },
        "preprocess_cfg": {
            "mean": [0.5862785803043838] * 3,
            "std": [0.27950088968644304] * 3,
            "interpolation": "bicubic",
            "pad_small": True,
        },
    }


def make(described: Mapping[str, Any]) -> TwoTowers:
    """Return the model with random weights."""
    cfg = described["model_cfg"]
    visual = ResNet() if cfg["vision_cfg"]["variant"] == "medclip_resnet" else Swin()
    return TwoTowers(visual, Text(cfg["text_cfg"]["vocab_size"]))


def read(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the variant, told by the tensors' names, and the release's tensors.

    Raises:
        ConfigError: the file is missing or cannot be read.
    """
    if not (folder / FILE).is_file():
        raise ConfigError(f"{folder} holds no {FILE}; {FETCH}")
    state = weights.read_state(folder / FILE)
    return VARIANTS["vision_model.model.fc.weight" in state], state


def name_here(theirs: str) -> str | None:
    """Return our name of a released tensor, None for one that is not needed; KeyError for one that is unknown."""
    for theirs_head, ours_head in (("text_model.", "text."), ("vision_model.", "visual.")):
        if theirs == f"{theirs_head}projection_head.weight":
            return f"{ours_head}projection.weight"
    if theirs.startswith("text_model.model."):
        inner = theirs.removeprefix("text_model.model.")
        return None if inner in UNUSED_OF_BERT else f"text.bert.{inner}"
    if theirs.startswith("vision_model.model."):
        return _of_vision(theirs.removeprefix("vision_model.model."))
    if theirs == "logit_scale":
        return theirs
    raise KeyError(theirs)


def _of_vision(inner: str) -> str | None:
    if not inner.startswith(("embeddings.", "encoder.", "layernorm.")):
        return f"visual.resnet.{inner}"
    if inner.endswith(".attention.self.relative_position_index"):
        return None  # a constant
    block = _SWIN_BLOCK.fullmatch(inner)
    if block is None:
        return f"visual.swin.{inner}"
    for theirs, ours in _SWIN.items():
        if block[2].startswith(theirs):
            return f"visual.swin.{block[1]}{ours}{block[2].removeprefix(theirs)}"
    return f"visual.swin.{inner}"
