"""The learning rate as a function of the step."""

import math


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the rate of optimiser step `step` (from 0): linear warm-up, then half a cosine to zero.

        step <  warmup:  peak (step + 1) / warmup
        step >= warmup:  peak (1 + cos(pi (step - warmup) / (total - warmup))) / 2

    Raises:
        ValueError: step is not in [0, total).

    References:
        WristMIR App. C; the same curve as OpenCLIP's `cosine_lr`.
    """
    if not 0 <= step < total:
        raise ValueError(f"step {step} is not in [0, {total})")
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def num_steps(pairs: int, batch_size: int, epochs: int, steps: int | None) -> tuple[int, int]:
    """Return (optimiser steps in all, steps an epoch): full batches only, the rest of an epoch is dropped."""
    an_epoch = pairs // batch_size
    return (epochs * an_epoch if steps is None else steps), an_epoch
