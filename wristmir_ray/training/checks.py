"""What is found wrong with a training's data before any rank is started."""

from collections.abc import Sequence

import numpy as np

from wristmir_ray.errors import ConfigError, TooManyRejects
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import Pairs, epoch_order
from wristmir_ray.training.schedule import num_steps

_NAMED = 3


def check_pairs(config: TrainClipConfig, train: Pairs, val: Pairs) -> None:
    """Raise ConfigError for pairs that cannot train."""
    ranks = config.workers.num_workers
    if len(train.captions) < max(2, ranks):
        raise ConfigError(
            f"{len(train.captions)} distinct training captions are too few for {ranks} ranks; "
            "at least two and one a rank are needed: mine more reports or use fewer workers"
        )
    if len(train) < config.batch_size:
        raise ConfigError(f"{len(train)} training pairs do not fill a batch of {config.batch_size}; lower batch_size")
    if len(val) < 2:
        raise ConfigError(f"{len(val)} validation pairs cannot choose an epoch; raise the val share of ingest")
    total, an_epoch = num_steps(len(train), config.batch_size, config.epochs, config.steps)
    if total <= config.optim.warmup_steps:
        raise ConfigError(f"{total} steps do not outlast optim.warmup_steps {config.optim.warmup_steps}")
    step = first_uniform_batch(train.caption, config.batch_size, config.seed, total, an_epoch)
    if step is not None:
        raise ConfigError(
            f"all pairs of the batch at step {step} have one caption, so that it teaches nothing: raise batch_size, or "
            "train on more reports or regions; another seed draws other batches"
        )


def first_uniform_batch(caption_N: np.ndarray, batch_size: int, seed: int, total: int, an_epoch: int) -> int | None:
    """Return the first step whose global batch holds a single distinct caption, or None.

    Args:
        caption_N: (N,) caption of each training pair.
        batch_size, seed: as trained.
        total, an_epoch: steps in all, and of one epoch.
    """
    if int(np.bincount(caption_N).max(initial=0)) < batch_size:
        return None  # no caption can fill a batch
    for start in range(0, total, an_epoch):
        order = epoch_order(len(caption_N), batch_size, seed, start // an_epoch)
        uniform = (caption_N[order] == caption_N[order[:, :1]]).all(1)[: total - start]
        if uniform.any():
            return start + int(uniform.argmax())
    return None


def check_rejects(config: TrainClipConfig, rejected: Sequence[str], rows: int) -> None:
    """Raise TooManyRejects, naming the first by their keys, where training would be on too few crops.

    Args:
        config: the job's.
        rejected: keys (exam_id|region) of crops that could not be decoded.
        rows: crops in all.
    """
    if rows and len(rejected) / rows > config.max_reject_share:
        raise TooManyRejects(
            f"{len(rejected)} of {rows} crops cannot be decoded, more than max_reject_share "
            f"{config.max_reject_share:g}: {named(rejected)}; run preprocess again"
        )


def named(keys: Sequence[str]) -> str:
    """Return the first of these keys, and how many more there are."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
