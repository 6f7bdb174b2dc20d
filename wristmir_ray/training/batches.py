"""What a rank reads for each step, made ahead: pixels of its pairs, changed at random."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from wristmir_ray.models.clip import Clip
from wristmir_ray.models.encoder import normalise, pixel_statistics
from wristmir_ray.training.augment import augment, draws
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import Pairs, epoch_order

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One global batch, as one rank sees it."""

    step: int
    pairs: np.ndarray
    """(B,) pairs of the whole global batch, rank by rank."""
    images: "torch.Tensor"
    """(B / W, 3, S, S) of this rank, on its device."""


class Batches:
    """The global batches of an epoch; each is a function of seed, epoch and step.

    Args:
        config: the job's.
        pairs: of the training patients.
        clip: says the size and statistics of images.
        rank, world: this rank and the number of ranks.
        device: where the images are wanted.
    """

    def __init__(
        self, config: TrainClipConfig, pairs: Pairs, clip: Clip, rank: int, world: int, device: "torch.device"
    ) -> None:
        self._config, self._pairs, self._size = config, pairs, clip.image_size
        self._statistics = pixel_statistics(clip)
        self._rank, self._world, self._device = rank, world, device

    def of_epoch(self, epoch: int, first: int, end: int) -> Iterator[Batch]:
        """Yield the batches of steps first, first + 1, ... to the end of the epoch, at most up to `end`.

        Pixels are read, and without a GPU also changed, in a thread, `step.prefetch` batches ahead.
        """
        order = epoch_order(len(self._pairs), self._config.batch_size, self._config.seed, epoch)[: end - first]
        on_gpu = self._device.type == "cuda"

        def read(i: int) -> "torch.Tensor":
            pixels = self._read(order[i])
            return pixels.pin_memory() if on_gpu else self._views(pixels, epoch, first + i)

        for i, images in enumerate(ahead(read, len(order), self._config.step.prefetch)):
            ready = self._views(images, epoch, first + i) if on_gpu else images
            yield Batch(first + i, order[i], ready)

    def _read(self, index_B: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.from_numpy(self._pairs.pixels(index_B[self._mine]))

    def _views(self, pixels: "torch.Tensor", epoch: int, step: int) -> "torch.Tensor":
        import torch

        draws_B6 = torch.from_numpy(draws(self._config.batch_size, self._config.seed, epoch, step)[self._mine])
        seen = pixels.to(self._device, non_blocking=True)
        grey = augment(seen, draws_B6.to(self._device), self._size, self._config.augment)
        images: torch.Tensor = normalise(grey, *self._statistics)
        return images

    @property
    def _mine(self) -> slice:
        share = self._config.batch_size // self._world
        return slice(self._rank * share, (self._rank + 1) * share)


def ahead(make: Callable[[int], T], count: int, depth: int) -> Iterator[T]:
    """Yield make(0) ... make(count - 1), in order; a thread is up to `depth` of them ahead (0: none, no thread)."""
    if not depth:
        yield from map(make, range(count))
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        waiting = deque(pool.submit(make, i) for i in range(min(depth, count)))
        for i in range(count):
            made = waiting.popleft().result()
            if i + depth < count:
                waiting.append(pool.submit(make, i + depth))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)
