"""What a run leaves: weights, resolved settings, history, TensorBoard events, curves, rejects, model card."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.models import encoder
from wristmir_ray.models.clip import Clip
from wristmir_ray.training import card, events
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import Pairs

if TYPE_CHECKING:
    from wristmir_ray.training.trainer import Trained


@dataclass(frozen=True)
class Origin:
    """What makes a run what it is, beside its settings."""

    run_id: str
    code: str
    inputs: dict[str, str]
    """Table -> run id, a hash of what it was made from."""
    start: str
    """Digest of the files that the model starts from; empty where there are none."""


@dataclass(frozen=True)
class Facts:
    """What a run was made from."""

    origin: Origin
    train: Pairs
    val: Pairs
    rejected: list[str]
    """Keys of the crops that could not be decoded."""

    def counts(self) -> dict[str, int]:
        """Return how many pairs and distinct captions were trained on and validated with."""
        return {
            "train_pairs": len(self.train),
            "train_captions": len(self.train.captions),
            "val_pairs": len(self.val),
            "val_captions": len(self.val.captions),
        }

    def by_region(self) -> list[dict[str, Any]]:
        """Return a row a trained region: pairs, distinct captions, the commonest caption's share, fractures."""
        return [row for i, region in enumerate(Region) if (row := _region(self.train, i, region))["pairs"]]


def store(
    config: TrainClipConfig, clip: Clip, trained: "Trained", facts: Facts, work: str
) -> tuple[list[str], dict[str, Any]]:
    """Write everything into the run folder.

    Args:
        config: the job's.
        clip: the model with the published weights.
        trained: what training gave.
        facts: what it was made from.
        work: where the ranks left event files.

    Returns:
        The files' names, and the figures for the manifest: those of the published epoch.
    """
    digest, names = encoder.save_encoder(config.root, facts.origin.run_id, clip)
    figures = {k: v for k, v in trained.best.items() if k not in {"kind", "score"}}
    steps = sum(row["kind"] == "step" for row in trained.history)
    metrics = {**figures, "last_epoch": trained.last["epoch"], "steps": steps, **facts.counts(), "digest": digest}
    if facts.origin.start:
        metrics["start"] = facts.origin.start
    extra = {
        "config.yaml": yaml.safe_dump(config.resolved(), sort_keys=False).encode(),
        "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in trained.history).encode(),
        "curves.png": card.curves(trained.history),
        "model_card.md": card.model_card(config, digest, facts, trained.best, trained.last, trained.history).encode(),
        "rejects.json": json.dumps({"corrupt_image": facts.rejected}).encode(),
        **_events(work),
    }
    for name, content in extra.items():
        storage.write_bytes(
            storage.join(storage.run_uri(config.root, encoder.NAME, facts.origin.run_id), name), content
        )
    return sorted([*names, *extra]), metrics


def _events(work: str) -> dict[str, bytes]:
    """Return the event files that the ranks left, an epoch each."""
    found = storage.list_files(storage.join(work, events.FOLDER))
    return {f"{events.FOLDER}/{uri.rsplit('/', 1)[-1]}": storage.read_bytes(uri) for uri in found}


def _region(pairs: Pairs, index: int, region: Region) -> dict[str, Any]:
    of = pairs.region == index
    copies = np.bincount(pairs.caption[of], minlength=1)
    return {
        "region": region.value,
        "pairs": int(of.sum()),
        "captions": int((copies > 0).sum()),
        "commonest": float(copies.max() / max(1, of.sum())),
        "fractures": int((pairs.label[of] == 1).sum()),
    }
