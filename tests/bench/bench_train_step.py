"""Our training step against open_clip's own, at BiomedCLIP's size: ViT-B/16 and a BERT-base text tower.

Both train the same architecture and weights (random, from one seed) with the last eight image blocks and
the text tower unfrozen, on one batch of 32 images, under bfloat16 autocast, with fused AdamW and all
cores, and clip the gradient at 1. The peer is `open_clip_train/train.py`'s step with `open_clip.ClipLoss`:
every sample's caption, padded to the context of 256. `trimmed_peer` is the same with its context cut to
the longest caption of the archive, as one who looks at the data would set it. Ours is `Learner`'s step as
`jobs/train_clip.yaml` sets it.

The captions are the phantom archive's, in both of the paper's templates (`biomedclip.phantom_captions`);
the batch has four distinct ones, a tenth: those at the quartiles and the 99th percentile of length. At a
global batch of 2,048 the phantoms have the share `share_at_2048` of distinct ones; what a step of 32 costs
with as many is `ours_at_that_share`. Tokens are counted by a WordPiece tokenizer (`biomedclip.write_model`).

All in one process. After a step of each to warm up, four rounds of our step and the trimmed peer's, the order
changing; the padded one's, which takes longest, stands in every third. The ratios are medians of the rounds'.
`fields` is what our step costs with each means switched off, once each, between two with all of them: on a
shared machine one step may differ by a third from the next. Frozen blocks need no switch: autograd records
nothing there.
"""

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH, BLOCKS = 32, 8
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))
JOB = Path(__file__).parents[2] / "jobs" / "train_clip.yaml"
OFF = ("distinct_captions", "trim_captions", "pooled_token", "fused_optimizer")


def measure() -> dict[str, Any]:
    """Return samples a second of both, the ratios to both peers, and the cost of each means."""
    import torch

    from tests.bench.biomedclip import OpenClip, pairs_of, phantom_captions, write_model
    from wristmir_ray.config import load_config
    from wristmir_ray.models import clip as clips
    from wristmir_ray.training.config import TrainClipConfig

    torch.set_num_threads(os.cpu_count() or 1)
    captions = phantom_captions()
    with tempfile.TemporaryDirectory() as folder:
        name = write_model(Path(folder), captions)
        argv = ["--encoder.model", name, "--encoder.init", "random", "--batch_size", str(BATCH)]
        config = load_config(TrainClipConfig, [*argv, "--workers.num_workers", "1"], JOB)
        torch.manual_seed(0)
        clip = clips.build(config.encoder)
        clips.lock(clip, BLOCKS, text=True)
        lengths = (clip.tokenizer(captions) != 0).sum(1).numpy()
        chosen = _at_quantiles(captions, lengths)
        pairs = pairs_of(chosen, round(clip.image_size * config.pixel_margin))
        peer = OpenClip.of(copy.deepcopy(clip.model), config.optim)
        ours = _Ours(config, clip, pairs)
        texts = clip.tokenizer([pairs.captions[i] for i in pairs.caption])
        short = texts[:, : int(lengths.max())]

        def theirs(tokens: Any) -> Callable[[], float]:
            return lambda: peer.step(ours.batch.images, tokens, config.precision == "bf16", config.optim.clip_norm)

        ratios, seconds = _rounds(ours.step, theirs(texts), theirs(short))
        _seconds(ours.step)  # behind the peer's much larger one, memory is mapped anew
        alone = _seconds(ours.step)
        off = {means: _seconds(lambda m=means: ours.without(m)) for means in OFF}
        off["bf16"] = _seconds(lambda: ours.without("bf16"))
        alone = (alone + _seconds(ours.step)) / 2
        share = _share_at(captions, 2048)
        many = _seconds(_Ours(config, clip, pairs_of(_with_share(captions, share), pairs.shards[0].shape[1])).step)
    return {
        "ours": round(BATCH / seconds["ours"], 3),
        "peer": round(BATCH / seconds["peer"], 3),
        "trimmed_peer": round(BATCH / seconds["trimmed_peer"], 3),
        "ratio": round(statistics.median(ratios["peer"]), 3),
        "trimmed_ratio": round(statistics.median(ratios["trimmed_peer"]), 3),
        "ratios": {name: [round(r, 3) for r in of_peer] for name, of_peer in ratios.items()},
        "unit": "samples/s",
        "distinct": len(set(chosen)),
        "tokens": {"ours": int(ours.longest), "trimmed_peer": short.shape[1], "peer": texts.shape[1]},
        "share_at_2048": round(share, 3),
        "ours_at_that_share": round(BATCH / many, 3),
        "fields": {
            f"without {means}": {"seconds": round(s, 3), "times": round(s / alone, 3)}
            for means, s in {"nothing": alone, **off}.items()
        },
    }


class _Ours:
    """`Learner`'s step on one batch that is kept."""

    def __init__(self, config: Any, clip: Any, pairs: Any) -> None:
        from wristmir_ray.training.learner import Learner

        self._learner = Learner(config, clip, pairs, pairs)
        self._config = config
        self.batch = next(iter(self._learner._batches.of_epoch(0, 0, 1)))
        tokens, _ = self._learner._texts.of(self.batch.pairs)
        assert tokens is not None
        self.longest = tokens.shape[1]
        self._learner.model.train()
        self._learner.model.text.eval()

    def step(self) -> None:
        """Take one step, as `Learner.train_epoch` does."""
        from wristmir_ray.training.optim import update

        learner = self._learner
        learner.forward(self.batch, 0).backward()
        update(learner.model, learner._optim, self._config.optim.lr, self._config.optim)

    def without(self, means: str) -> None:
        """Take one step with a means switched off; the learner is what its constructor makes of such a setting."""
        from wristmir_ray.models.pooled import pool_early
        from wristmir_ray.training.texts import Texts

        learner, on = self._learner, self._config.step
        learner.config = self._config.model_copy(update={"step": on.model_copy(update={means: False})})
        texts = learner._texts
        learner._texts = Texts(learner.config, learner.clip, learner.train_pairs, learner._towers, 0, 1, learner.device)
        for group in learner._optim.param_groups:
            group["fused"] = means != "fused_optimizer"
        learner._towers.bf16 = means != "bf16"
        if means == "pooled_token":
            del learner.model.visual.trunk.blocks[-1].forward
        self.step()
        learner.config, learner._texts, learner._towers.bf16 = self._config, texts, True
        pool_early(learner.model.visual)


def _rounds(
    ours: Callable[[], Any], peer: Callable[[], Any], trimmed: Callable[[], Any]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the rounds' ratios to either peer, and the median seconds of all."""
    for step in (peer, trimmed, ours):
        step()
    took: dict[str, list[float]] = {"ours": [], "peer": [], "trimmed_peer": []}
    ratios: dict[str, list[float]] = {"peer": [], "trimmed_peer": []}
    for turn in range(ROUNDS):
        steps = {"ours": ours, "trimmed_peer": trimmed, **({} if turn % 3 else {"peer": peer})}
        for name in list(steps)[:: -1 if turn % 2 else 1]:
            took[name].append(_seconds(steps[name]))
        for name in steps.keys() - {"ours"}:
            ratios[name].append(took[name][-1] / took["ours"][-1])
    return ratios, {name: statistics.median(s) for name, s in took.items()}


def _seconds(step: Callable[[], Any]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _at_quantiles(captions: list[str], lengths: np.ndarray) -> list[str]:
    """Return a batch of four distinct captions: 25th, 50th, 75th and 99th percentile of length."""
    order = np.argsort(lengths, kind="stable")
    four = [captions[order[int(q * (len(order) - 1))]] for q in (0.25, 0.5, 0.75, 0.99)]
    return [four[i % 4] for i in range(BATCH)]


def _share_at(captions: list[str], batch: int) -> float:
    """Return the mean share of distinct captions among `batch` pairs of the phantom archive."""
    rng = np.random.default_rng(0)
    return float(np.mean([len(set(rng.choice(captions, batch, replace=False))) / batch for _ in range(10)]))


def _with_share(captions: list[str], share: float) -> list[str]:
    """Return a batch with this share of distinct captions, the first of a shuffle of the archive's."""
    shuffled = np.random.default_rng(0).permutation(captions)
    distinct = list(dict.fromkeys(map(str, shuffled)))[: max(1, round(share * BATCH))]
    return [distinct[i % len(distinct)] for i in range(BATCH)]
