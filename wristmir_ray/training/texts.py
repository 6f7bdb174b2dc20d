"""The captions of a step: each distinct one once, no longer than need be, and the loss that goes with them."""

from typing import TYPE_CHECKING

import numpy as np

from wristmir_ray.models.clip import Clip
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.loss import equation_2, multi_positive_loss
from wristmir_ray.training.pairs import Pairs
from wristmir_ray.training.step import LossOf, Towers, distinct_captions

if TYPE_CHECKING:
    import torch

_CHUNK = 256


class Texts:
    """What the text tower reads for a global batch, by `step` of the configuration.

    The text tower runs without dropout, so that equal captions have equal features: one stands for all
    its samples, and a frozen tower's features hold for the whole training.

    Args:
        config: the job's.
        clip: tokenizer, and where padding may be cut.
        pairs: of the training patients.
        towers: encode the captions of a frozen text tower, once.
        rank, world: this rank and the number of ranks.
        device: where tokens are wanted.
    """

    def __init__(
        self,
        config: TrainClipConfig,
        clip: Clip,
        pairs: Pairs,
        towers: Towers,
        rank: int,
        world: int,
        device: "torch.device",
    ) -> None:
        self._config, self._clip, self._towers = config, clip, towers
        self._caption_N = pairs.caption
        self._rank, self._world = rank, world
        self._device = device
        self._tokens_KL = clip.tokens(pairs.captions, trim=config.step.trim_captions)  # cut on the CPU: no waiting
        self._frozen_KD: torch.Tensor | None = None

    def of(self, index_B: np.ndarray) -> "tuple[torch.Tensor | None, LossOf]":
        """Return what this rank's text tower reads, and the loss of the global batch.

        Args:
            index_B: (B,) pairs of the global batch, rank by rank.

        Returns:
            (u, L) token ids; None where the tower is frozen: the loss then knows the features.
        """
        caption_B = self._caption_N[index_B]
        if not self._config.step.distinct_captions:
            mine = caption_B.reshape(self._world, -1)[self._rank]
            return self._tokens(mine), self._loss(np.arange(len(caption_B)), caption_B)
        all_U, mine, of_B = distinct_captions(caption_B, self._rank, self._world)
        if self._config.trainable.text:
            return self._tokens(mine), self._loss(of_B, caption_B, len(all_U))
        return None, self._loss(of_B, caption_B, len(all_U), self._frozen()[all_U])

    def forget(self) -> None:
        """Forget a frozen tower's features: other weights were loaded."""
        self._frozen_KD = None

    def _tokens(self, captions: np.ndarray) -> "torch.Tensor":
        import torch

        tokens = self._tokens_KL[torch.from_numpy(captions)]
        return (self._clip.trim(tokens) if self._config.step.trim_captions else tokens).to(self._device)

    def _loss(
        self, of_B: np.ndarray, caption_B: np.ndarray, rows: int | None = None, known: "torch.Tensor | None" = None
    ) -> LossOf:
        """Return the loss of texts of which row of_B[i] is that of sample i; only the first `rows` count."""
        import torch

        place_B, equal_B = (torch.from_numpy(x).to(self._device) for x in (of_B, caption_B))
        each_B = torch.arange(len(caption_B), device=self._device)
        single, once = self._config.loss == "single_positive", self._config.step.distinct_captions

        def loss_of(image: "torch.Tensor", text: "torch.Tensor | None", scale: "torch.Tensor") -> "torch.Tensor":
            found = known if text is None else text[:rows]
            assert found is not None
            if single:
                return multi_positive_loss(image, found[place_B], each_B, scale)
            return (
                multi_positive_loss(image, found, place_B, scale) if once else equation_2(image, found, equal_B, scale)
            )

        return loss_of

    def _frozen(self) -> "torch.Tensor":
        """Return (K, D) features of all captions of the training, encoded when first wanted."""
        import torch

        if self._frozen_KD is None:
            every = np.arange(len(self._tokens_KL))
            chunks = (every[i : i + _CHUNK] for i in range(0, len(every), _CHUNK))
            with torch.no_grad():
                parts = [self._towers(None, self._tokens(chunk))[1] for chunk in chunks]
            self._frozen_KD = torch.cat(parts).float()
        return self._frozen_KD
