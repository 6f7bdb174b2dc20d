"""Two towers that open_clip does not make, with the methods of an open_clip model.

It loads torch, as do the modules of the baselines: they are imported in loaders.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

TEMPERATURE = 0.07
"""Where CLIP's learned temperature starts, and what stands for it where a release leaves it out."""


class TwoTowers(nn.Module):
    """An image and a text tower that give vectors of one space.

    Args:
        visual: float (B, 3, S, S) -> (B, D).
        text: int64 (B, L) -> (B, D).
    """

    def __init__(self, visual: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.text = text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Return (B, D) image features, of unit norm if asked for."""
        features: Tensor = self.visual(image)
        return functional.normalize(features, dim=-1) if normalize else features

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Return (B, D) text features, of unit norm if asked for."""
        features: Tensor = self.text(text)
        return functional.normalize(features, dim=-1) if normalize else features

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return image features, text features (unit norm) and 1 / temperature."""
        return self.encode_image(image, True), self.encode_text(text, True), self.logit_scale.exp()


def bert(vocab_size: int) -> BertModel:
    """Return BERT-base of random weights without its pooler, which neither baseline uses."""
    return BertModel(BertConfig(vocab_size=vocab_size), add_pooling_layer=False)


UNUSED_OF_BERT = frozenset({"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"})
"""Tensors of a stored BERT that are known and not needed: a constant, and the pooler."""
