"""One rank's training state: what it does in an epoch, how it validates, what a checkpoint holds. No Ray."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from wristmir_ray.models.clip import Clip
from wristmir_ray.models.encoder import normalise, pixel_statistics
from wristmir_ray.models.pooled import pool_early
from wristmir_ray.training import validation
from wristmir_ray.training.augment import plain
from wristmir_ray.training.batches import Batch, Batches
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.loss import gather, multi_positive_loss
from wristmir_ray.training.optim import optimizer, update
from wristmir_ray.training.pairs import Pairs, epoch_order
from wristmir_ray.training.schedule import learning_rate, num_steps
from wristmir_ray.training.sharing import check_exact
from wristmir_ray.training.step import Forward, Towers, forward
from wristmir_ray.training.texts import Texts

if TYPE_CHECKING:
    import torch

_VALIDATION_CHUNK = 256


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is not finite; the message names the step and its first pairs by their hashed keys."""

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
        check_exact(clip.model, config.batch_size // world, config.step)
        self.model = clip.model.to(device=self.device, memory_format=torch.channels_last)
        self._shape_towers()
        self._towers = Towers(wrap(self.model), self.device.type, config.precision == "bf16")
        self._optim = optimizer(self.model, config.optim, config.step.fused_optimizer)
        self._texts = Texts(config, clip, train, self._towers, rank, world, self.device)
        self._batches = Batches(config, train, clip, rank, world, self.device)
        self._statistics = pixel_statistics(clip)
        self.total_steps, self.steps_an_epoch = num_steps(len(train), config.batch_size, config.epochs, config.steps)
        self.epochs = math.ceil(self.total_steps / self.steps_an_epoch)
        self.next_epoch = 0

    def train_epoch(self, epoch: int) -> list[dict[str, float]]:
        """Train one epoch and return a row a step: step, epoch, loss, lr, grad_norm, scale.

        Raises:
            NonFiniteLoss: loss or gradient of a step is not finite; no update was made from it.
        """
        self.model.train()
        self.model.text.eval()  # no dropout: a caption that comes once stands for all its samples
        rows = []
        for batch in self._batches.of_epoch(epoch, epoch * self.steps_an_epoch, self.total_steps):
            half = self.forward(batch, epoch)
            self._refuse(half.loss, "loss", batch, epoch)
            half.backward()
            lr = learning_rate(batch.step, self.total_steps, self.config.optim.warmup_steps, self.config.optim.lr)
            norm = update(self.model, self._optim, lr, self.config.optim)
            self._refuse(norm, "norm of the gradient", batch, epoch)
            scale = float(self.model.logit_scale.detach().exp())
            row = {"step": batch.step, "epoch": epoch, "loss": half.loss}
            rows.append({**row, "lr": lr, "grad_norm": norm, "scale": scale})
        self.next_epoch = epoch + 1
        return rows

    def forward(self, batch: Batch, epoch: int) -> Forward:
        """Return the loss of a global batch, and its backward half; every rank must call it."""
        import torch

        chance = np.random.SeedSequence([self.config.seed, epoch, batch.step, self.rank])
        torch.manual_seed(int(chance.generate_state(1)[0]))  # of dropout, where an image tower has any
        tokens, loss_of = self._texts.of(batch.pairs)
        return forward(self._towers, batch.images, tokens, loss_of, self.rank, self.world, self.config.step.micro_batch)

    def _refuse(self, value: float, what: str, batch: Batch, epoch: int) -> None:
        if math.isfinite(value):
            return
        keys = tuple(self.train_pairs.keys[i] for i in batch.pairs)
        named = ", ".join(keys[:8])
        error = NonFiniteLoss(f"{what} {value} at step {batch.step} (epoch {epoch}); its batch begins with {named}")
        error.pairs = keys
        raise error

    def _shape_towers(self) -> None:
        """Change how the towers compute, not what."""
        step = self.config.step
        if step.pooled_token:
            pool_early(self.model.visual)
        if step.checkpoint_blocks:
            self.model.visual.set_grad_checkpointing(True)
        if step.compile or (step.compile is None and self.device.type == "cuda"):
            self.model.visual.compile()
            self.model.text.compile(dynamic=True)  # as many captions, as long, as a batch has

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
        for group in self._optim.param_groups:
            group["fused"] = self.config.step.fused_optimizer  # how it is computed is this run's, not the checkpoint's
        self._texts.forget()
        self.next_epoch = int(state["next_epoch"])
