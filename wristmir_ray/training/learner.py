"""One rank's training state: what it does in an epoch, how it validates, what a checkpoint holds. No Ray."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.models.clip import Clip
from wristmir_ray.models.encoder import normalise, pixel_statistics
from wristmir_ray.training import validation
from wristmir_ray.training.augment import augment, draws, plain
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.loss import gather, multi_positive_loss
from wristmir_ray.training.pairs import Pairs, epoch_order
from wristmir_ray.training.schedule import learning_rate, num_steps
from wristmir_ray.training.step import global_loss, optimizer, update

if TYPE_CHECKING:
    import torch

_VALIDATION_CHUNK = 256


class NonFiniteLoss(ArithmeticError):
    """The loss is not a number; the message names the step and its first pairs by their hashed keys."""

    pairs: tuple[str, ...] = ()
    """The keys of the whole batch."""


class Learner:
    """Trains one model on this rank's part of every global batch.

    Every random draw is a function of seed, epoch and step, so that a checkpoint's position is all
    the randomness there is to store.

    Args:
        config: the job's.
        clip: the model, already frozen in part.
        wrap: wraps the model for gradients across ranks and puts it on its device.
        train, val: pairs of the two splits.
        rank, world: this rank and the number of ranks.
        device: torch device.
    """

    def __init__(
        self,
        config: TrainClipConfig,
        clip: Clip,
        train: Pairs,
        val: Pairs,
        wrap: "Callable[[torch.nn.Module], torch.nn.Module]" = lambda model: model,
        rank: int = 0,
        world: int = 1,
        device: str = "cpu",
    ) -> None:
        import torch

        self.config, self.clip, self.train_pairs, self.val_pairs = config, clip, train, val
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.model = clip.model.to(device=self.device, memory_format=torch.channels_last)
        self._wrapped = wrap(self.model)
        self._optim = optimizer(self.model, config.optim)
        self._tokens_KL = clip.tokens(train.captions).to(self.device)
        self._statistics = pixel_statistics(clip)
        self.total_steps, self.steps_an_epoch = num_steps(len(train), config.batch_size, config.epochs, config.steps)
        self.epochs = math.ceil(self.total_steps / self.steps_an_epoch)
        self.next_epoch = 0

    def train_epoch(self, epoch: int) -> list[dict[str, float]]:
        """Train one epoch and return a row a step: step, epoch, loss, lr, grad_norm, scale.

        Raises:
            NonFiniteLoss: the loss of a step is not a number; no update was made from it.
        """
        self.model.train()
        self.model.text.eval()  # no dropout: a caption that comes once stands for all its samples
        order = epoch_order(len(self.train_pairs), self.config.batch_size, self.config.seed, epoch)
        first = epoch * self.steps_an_epoch
        rows = []
        for step, index_B in enumerate(order[: self.total_steps - first], first):
            loss = self._loss(index_B, epoch, step)
            value = float(loss.detach())
            if not math.isfinite(value):
                named = ", ".join(self.train_pairs.keys[i] for i in index_B[:8])
                error = NonFiniteLoss(f"loss {value} at step {step} (epoch {epoch}); its batch begins with {named}")
                error.pairs = tuple(self.train_pairs.keys[i] for i in index_B)
                raise error
            loss.backward()  # type: ignore[no-untyped-call]
            lr = learning_rate(step, self.total_steps, self.config.optim.warmup_steps, self.config.optim.lr)
            norm = update(self.model, self._optim, lr, self.config.optim)
            scale = float(self.model.logit_scale.detach().exp())
            rows.append({"step": step, "epoch": epoch, "loss": value, "lr": lr, "grad_norm": norm, "scale": scale})
        self.next_epoch = epoch + 1
        return rows

    def _loss(self, index_B: np.ndarray, epoch: int, step: int) -> "torch.Tensor":
        import torch

        share = len(index_B) // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        pixels = torch.from_numpy(self.train_pairs.pixels(index_B[mine])).to(self.device)
        draws_B6 = torch.from_numpy(draws(len(index_B), self.config.seed, epoch, step)[mine]).to(self.device)
        grey = augment(pixels, draws_B6, self.clip.image_size, self.config.augment)
        images = normalise(grey, *self._statistics)
        text_B = self.train_pairs.caption[index_B]
        caption_B = text_B if self.config.loss == "multi_positive" else np.arange(len(index_B))

        def tokens_of(captions: np.ndarray) -> torch.Tensor:
            rows = captions if self.config.loss == "multi_positive" else text_B[captions]
            return self._tokens_KL[torch.from_numpy(rows).to(self.device)]

        return global_loss(self._towers, images, tokens_of, caption_B, self.rank, self.world)

    def _towers(self, images: "torch.Tensor", tokens: "torch.Tensor") -> Any:
        import torch

        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            return self._wrapped(images, tokens)

    def validate(self) -> dict[str, float | None]:
        """Return val_loss, val_recall_at_5, val_match_at_10 (mean over bones and each) and `score`, higher is better.

        The ranks share the encoding; batch statistics are averaged over them first.
        """
        import torch

        self._average_buffers()
        self.model.eval()
        with torch.inference_mode():
            image_ND, text_UD = self._val_images(), self._val_texts()
            loss = self._val_loss(image_ND, text_UD)
        images, texts = image_ND.cpu().numpy(), text_UD.cpu().numpy()
        pairs = self.val_pairs
        match = validation.bone_matches(images, pairs.region, pairs.label, k=10)
        metrics: dict[str, float | None] = {
            "val_loss": loss,
            "val_recall_at_5": validation.caption_recall(images, texts, pairs.caption, k=5),
            "val_match_at_10": match.pop("mean"),
            **{f"val_match_at_10_{bone}": value for bone, value in match.items()},
        }
        chosen = metrics[self.config.validation.keep_best_by] or 0.0
        return {**metrics, "score": -chosen if self.config.validation.keep_best_by == "val_loss" else chosen}

    def _val_images(self) -> "torch.Tensor":
        import torch

        total = len(self.val_pairs)
        share = -(-total // self.world)
        mine = np.arange(self.rank * share, (self.rank + 1) * share) % total  # equal parts; the surplus is cut off
        parts = []
        for start in range(0, share, _VALIDATION_CHUNK):
            pixels = torch.from_numpy(self.val_pairs.pixels(mine[start : start + _VALIDATION_CHUNK])).to(self.device)
            grey = plain(pixels, self.clip.image_size)
            parts.append(self.model.encode_image(normalise(grey, *self._statistics), normalize=True).float())
        return gather(torch.cat(parts))[:total]

    def _val_texts(self) -> "torch.Tensor":
        import torch

        captions = self.val_pairs.captions
        parts = [captions[i : i + _VALIDATION_CHUNK] for i in range(0, len(captions), _VALIDATION_CHUNK)]
        encoded = [self.model.encode_text(self.clip.tokens(p).to(self.device), normalize=True) for p in parts]
        return torch.cat(encoded).float()

    def _val_loss(self, image_ND: "torch.Tensor", text_UD: "torch.Tensor") -> float:
        """Mean over batches of training's size: the loss depends on it."""
        import torch

        total = len(self.val_pairs)
        order = epoch_order(total, min(self.config.batch_size, total), seed=0, epoch=0)
        scale = self.model.logit_scale.exp().float()
        losses = []
        for index_B in order:
            caption_B = torch.from_numpy(self.val_pairs.caption[index_B]).to(self.device)
            losses.append(multi_positive_loss(image_ND[torch.from_numpy(index_B)], text_UD, caption_B, scale))
        return float(torch.stack(losses).mean())

    def _average_buffers(self) -> None:
        import torch

        if self.world == 1:
            return
        for buffer in self.model.buffers():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer.div_(self.world)

    def state(self) -> dict[str, Any]:
        """Return what a resume needs: weights, optimiser, position."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optim.state_dict(),
            "next_epoch": self.next_epoch,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.model.load_state_dict(state["model"])
        self._optim.load_state_dict(state["optimizer"])
        self.next_epoch = int(state["next_epoch"])
