"""PMC-CLIP: ModifiedResNet-50 and PubMedBERT in 768 dimensions (Lin et al., MICCAI 2023).

What is needed of the released model to compare images with texts: its fusion module and the head of its
masked language model come after the vectors, and are left out. As in its own code, a text is padded to 77
tokens and the padding is not masked: it is part of what the tower was trained on.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights
from wristmir_ray.models.two_towers import UNUSED_OF_BERT, TwoTowers, bert

VARIANTS = ("pmc_clip",)
FETCH = (
    "fetch checkpoint.pt of huggingface.co/datasets/axiong/pmc_oa_beta (or image_encoder(resnet50).pth, "
    "text_encoder.pth and text_projection_layer.pth of huggingface.co/datasets/axiong/pmc_oa) and vocab.txt of "
    "huggingface.co/microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext into a folder"
)
WHOLE = "checkpoint.pt"
PARTS: Mapping[str, str] = {"image_encoder(resnet50).pth": "visual.", "text_encoder.pth": "text_encoder."}
"""Files of the release in parts, and what their keys begin with in the whole."""
PROJECTION = "text_projection_layer.pth"

_WIDTH, _DIM = 768, 768
_UNUSED = re.compile(
    r"positional_embedding|mlm_projection|img_special_token|ln_final\.(weight|bias)|"
    r"fusion_module\.resblocks\.\d+\.(attn\.(in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias)|"
    r"ln_[12]\.(weight|bias)|mlp\.(c_fc|c_proj)\.(weight|bias))"
)


class Text(nn.Module):
    """The last state of [CLS], projected."""

    neutral_padding = None
    """No token is masked, so that a text must keep its padding."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bert = bert(vocab_size)
        self.projection = nn.Parameter(torch.empty(_WIDTH, _DIM).normal_(std=_WIDTH**-0.5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (B, 768) of int64 (B, 77)."""
        states: Tensor = self.bert(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        return states[:, 0] @ self.projection


def architecture(_: str) -> dict[str, Any]:
    """Return the description that travels with the weights."""
    return {
        "kind": "pmc_clip",
        "model_cfg": {
            "embed_dim": _DIM,
            "vision_cfg": {"image_size": 224},
            "text_cfg": {"context_length": 77, "vocab_size": 30522},
        },
        "preprocess_cfg": {
            "mean": [0.48145466, 0.4578275, 0.40821073],
            "std": [0.26862954, 0.26130258, 0.27577711],
            "interpolation": "bicubic",
        },
    }


def make(described: Mapping[str, Any]) -> TwoTowers:
    """Return the model with random weights."""
    visual = ModifiedResNet([3, 4, 6, 3], output_dim=_DIM, heads=32, image_size=224, width=64)
    return TwoTowers(visual, Text(described["model_cfg"]["text_cfg"]["vocab_size"]))


def read(folder: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the variant and the release's tensors, in the names of the whole checkpoint.

    Raises:
        ConfigError: a file is missing or cannot be read.
    """
    if (folder / WHOLE).is_file():
        return VARIANTS[0], weights.read_state(folder / WHOLE)
    missing = [name for name in (*PARTS, PROJECTION) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{folder} holds neither {WHOLE} nor {', '.join(missing)}; {FETCH}")
    parts = {name: weights.read_state(folder / name) for name in PARTS}
    state = {prefix + k: v for name, prefix in PARTS.items() for k, v in parts[name].items()}
    projection = weights.read_tensor(folder / PROJECTION)
    return VARIANTS[0], {**state, "text_projection": projection, "logit_scale": torch.tensor(0.07).reciprocal().log()}


def name_here(theirs: str) -> str | None:
    """Return our name of a released tensor, None for one that is not needed; KeyError for one that is unknown."""
    if theirs.startswith("text_encoder."):
        inner = theirs.removeprefix("text_encoder.")
        return None if inner in UNUSED_OF_BERT else f"text.bert.{inner}"
    if theirs == "text_projection":
        return "text.projection"
    if theirs.startswith("visual.") or theirs == "logit_scale":
        return theirs
    if _UNUSED.fullmatch(theirs):
        return None
    raise KeyError(theirs)
