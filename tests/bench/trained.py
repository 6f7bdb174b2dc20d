"""The demo's line up to its trained detectors, for benchmarks that need real ones."""

import os
from pathlib import Path
from typing import Any

JOBS = Path(__file__).parents[2] / "jobs"


def detectors(folder: str, exams: int | None = None) -> Any:
    """Make phantoms, ingest them, train both detectors under `folder`; return the demo's configuration."""
    from wristmir_ray.demo.config import DemoConfig
    from wristmir_ray.demo.line import PHANTOM_HASH_KEY, STEPS, run_step

    os.environ.setdefault("WRISTMIR_HASH_KEY", PHANTOM_HASH_KEY)
    size = {} if exams is None else {"exams": exams}
    demo = DemoConfig(root=folder, ray={"progress": False}, **size)
    for step in STEPS:
        if step.name == "preprocess":
            return demo
        run_step(step, demo, JOBS)
    raise AssertionError("the line has no preprocess")
