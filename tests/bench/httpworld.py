"""An archive of made-up vectors as a service finds it, for `bench_http` and for faults under load."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.embedded import publish
from tests.integration.tiny_world import make_world
from wristmir_ray import storage
from wristmir_ray.schemas import CROPS


def make_archive(folder: Path) -> str:
    """Publish the tiny world's detectors, crops and encoder; return the root, in which an index is still missing."""
    return make_world(folder).root


def add_index(root: str, wrists: np.ndarray, bones: np.ndarray, run: str) -> Any:
    """Publish an index of these vectors that says it was made from the root's crops and encoder; return it, opened."""
    encoder, crops = storage.published(root, "encoder"), storage.published(root, CROPS.name)
    digest = str(encoder.metrics["digest"])
    return publish(
        Path(root),
        wrists,
        bones,
        run,
        digest,
        models={"encoder": encoder.run_id, **crops.models},
        inputs={CROPS.name: crops.run_id},
        metrics={"digest": digest, "dim": wrists.shape[1]},
    )
