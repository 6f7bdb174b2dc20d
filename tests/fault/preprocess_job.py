"""A small archive to be hurt while `python -m tests.fault.preprocess_job ROOT CALLS SECONDS_AN_IMAGE` handles it."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.unit.preprocess.fake_detectors import Shares, fake_load
from wristmir_ray import storage
from wristmir_ray.config import PoolConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.job import Summary
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, Detection
from wristmir_ray.models.networks import RuntimeConfig
from wristmir_ray.preprocess.config import PreprocessConfig
from wristmir_ray.preprocess.pipeline import run
from wristmir_ray.schemas import EXAMS
from wristmir_ray.tables import conform

EXAMS_COUNT, FILES = 240, 12
WORKERS, BATCH, FRAGMENT = 2, 4, 8


def images() -> dict[str, bytes]:
    """A few small wrists of noise: file name -> PNG."""
    seeds = range(FILES)
    return {f"{i}.png": encode_png(np.random.default_rng(i).integers(40, 255, (180, 120), np.uint8)) for i in seeds}


def publish(root: str, folder: str) -> None:
    """Publish EXAMS whose images lie in `folder`, and two detectors by name."""
    uris = [storage.join(folder, f"{i % FILES}.png") for i in range(EXAMS_COUNT)]
    rows = [
        {"source_id": f"s{i:04d}", "exam_id": f"e{i:04d}", "source_uri": u, "split": "train"}
        for i, u in enumerate(uris)
    ]
    storage.write_parquet(conform(rows, EXAMS), storage.join(storage.run_uri(root, EXAMS.name, "x1"), "a.parquet"), 64)
    storage.publish(root, storage.Manifest(EXAMS.name, "x1", "ingest", schema=EXAMS.fingerprint, files=["a.parquet"]))
    for name in (ROI_DETECTOR, BONE_DETECTOR):
        storage.publish(root, storage.Manifest(name, "m1", "train_detector", metrics={"digest": name}))


@dataclass(frozen=True)
class CountingLoad:
    """Loads detectors that note every image they see, and take their time."""

    calls: str
    seconds: float

    def __call__(self, root: str, name: str, run_id: str, runtime: RuntimeConfig) -> Shares:
        found = fake_load(root, name, run_id)
        if name != ROI_DETECTOR:
            return found
        detect, calls, seconds = found.detect, self.calls, self.seconds

        def counted(images: Sequence[np.ndarray]) -> list[list[Detection]]:
            time.sleep(seconds * len(images))
            with open(calls, "a") as f:
                f.write("x" * len(images))
            return detect(images)

        found.detect = counted  # type: ignore[method-assign]
        return found


def preprocess(root: str, calls: Path, seconds: float = 0.0) -> Summary:
    """Run the job; every image a detector sees is a character in the file `calls`."""
    pool = PoolConfig(batch_size=BATCH, workers=WORKERS)
    config = PreprocessConfig(
        root=root,
        fragment_rows=FRAGMENT,
        max_reject_share=1,
        detect=pool,
        ray={"progress": False, "object_store_gib": 0.2},
    )
    return run(config, CountingLoad(str(calls), seconds))


if __name__ == "__main__":
    from wristmir_ray.errors import WristmirError

    try:
        print(preprocess(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
    except WristmirError as e:
        print(e, file=sys.stderr)
        sys.stderr.flush()
        os._exit(e.exit_code)
