"""Training steps with real loading against the same steps on one batch that is kept, same model, same process.

Real loading is what training does: rows of the decoded pixel files, memory-mapped, in the epoch's
shuffled order, changed at random, made ahead by a thread. The files are written by `store_pixels` from drawn
crops of the sizes that training keeps. An epoch of either in turn, 25 rounds after one to
warm up, three of the large model; the result is the median of the rounds' ratios.

`demo` is the harder case: the demo's small CNN at 64 px, 64 pairs a step, one thread, as one of its ranks
runs it (the second core is free for the reader; a step takes a fraction of a second). `full` is BiomedCLIP's
size, 32 pairs a step, all cores. `ratio` is the demo's. `read_ms` is what a batch costs the thread.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "25"))
JOBS = Path(__file__).parents[2] / "jobs"


def measure() -> dict[str, Any]:
    """Return milliseconds a step of both, and their ratio, for both models."""
    from tests.bench.biomedclip import phantom_captions, write_model

    captions = phantom_captions(60)
    with tempfile.TemporaryDirectory() as folder:
        name = write_model(Path(folder), captions)
        full = ["--encoder.model", name, "--encoder.init", "random", "--batch_size", "32"]
        models = {
            "demo": _compare(JOBS / "train_clip_demo.yaml", ["--batch_size", "64"], folder, 1, 12, ROUNDS),
            "full": _compare(JOBS / "train_clip.yaml", full, folder, os.cpu_count() or 1, 2, max(1, ROUNDS // 8)),
        }
    demo = models["demo"]
    return {"ours": demo["ms"], "peer": demo["kept_ms"], "ratio": demo["ratio"], "unit": "ms a step", "models": models}


def _compare(job: Path, argv: list[str], folder: str, threads: int, steps: int, rounds: int) -> dict[str, Any]:
    """Return what a step takes with real loading and with a kept batch."""
    import torch

    from wristmir_ray.anatomy import Split
    from wristmir_ray.config import load_config
    from wristmir_ray.models import clip as clips
    from wristmir_ray.training.config import TrainClipConfig
    from wristmir_ray.training.learner import Learner

    torch.set_num_threads(threads)
    config = load_config(TrainClipConfig, [*argv, "--workers.num_workers", "1"], job)
    torch.manual_seed(0)
    clip = clips.build(config.encoder)
    clips.lock(clip, config.trainable.image_blocks, config.trainable.text)
    side = round(clip.image_size * config.pixel_margin)
    pairs = _stored(config.batch_size * steps, side, f"{folder}/{side}px", Split.TRAIN)
    learner = Learner(config.model_copy(update={"steps": 10**6}), clip, pairs, pairs)
    real = learner._batches
    kept = _Kept(next(iter(real.of_epoch(0, 0, 1))), steps)
    seconds: dict[str, list[float]] = {"real": [], "kept": []}
    for turn in range(rounds + 1):
        for name, batches in list({"real": real, "kept": kept}.items())[:: 1 if turn % 2 else -1]:
            learner._batches = batches
            started = time.perf_counter()
            learner.train_epoch(turn)
            if turn:
                seconds[name].append((time.perf_counter() - started) / steps)
    started = time.perf_counter()
    for i in range(steps):
        real._views(real._read(np.arange(config.batch_size) + i), 0, i)
    read = (time.perf_counter() - started) / steps
    return {
        "ms": round(1000 * statistics.median(seconds["real"]), 1),
        "kept_ms": round(1000 * statistics.median(seconds["kept"]), 1),
        "ratio": round(statistics.median(r / k for r, k in zip(*seconds.values(), strict=True)), 4),
        "ratios": [round(r / k, 4) for r, k in zip(*seconds.values(), strict=True)],
        "read_ms": round(1000 * read, 1),
        "batch": config.batch_size,
        "threads": threads,
    }


class _Kept:
    """Batches that are one and the same."""

    def __init__(self, batch: Any, steps: int) -> None:
        self._batch, self._steps = batch, steps

    def of_epoch(self, epoch: int, first: int, end: int) -> Iterator[Any]:
        """Yield the kept batch as every step's."""
        from dataclasses import replace

        yield from (replace(self._batch, step=first + i) for i in range(self._steps))


def _stored(count: int, side_px: int, folder: str, split: Any) -> Any:
    """Return pairs whose pixels lie in files as training's decoding leaves them, noise with the toy's captions."""
    from tests.unit.training import toy
    from wristmir_ray import schemas
    from wristmir_ray.anatomy import Region
    from wristmir_ray.tables import conform
    from wristmir_ray.training.pairs import open_pairs
    from wristmir_ray.training.stages import store_pixels

    crops, captions = toy.rows(count // 4, side_px=side_px)
    for row in (*crops, *captions):
        row["split"] = split.value
    table = conform(crops, schemas.CROPS).select(["exam_id", "region", "png", "split"])
    files = [
        f"{folder}/{store_pixels(table.slice(i, 512), side_px=side_px, folder=folder)['file'][0].as_py()}"
        for i in range(0, table.num_rows, 512)
    ]
    return open_pairs(files, conform(captions, schemas.CAPTIONS), split, tuple(Region))
