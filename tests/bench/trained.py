"""The demo's line up to its detectors or its index, for benchmarks that need real ones.

BENCH_TRAINED names the folder of a finished demo, where one is to be used instead: training takes minutes.
"""

import os
from pathlib import Path
from typing import Any

from tests.bench.peak import publish_rows

JOBS = Path(__file__).parents[2] / "jobs"


def detectors(folder: str, exams: int | None = None) -> Any:
    """Make phantoms, ingest them, train both detectors under `folder`; return the demo's configuration."""
    return _line(folder, "preprocess", exams)


def searched(folder: str) -> Any:
    """Run the whole line up to its index under `folder`; return the demo's configuration."""
    return _line(folder, "evaluate", None)


def _line(folder: str, until: str, exams: int | None) -> Any:
    from wristmir_ray.demo.config import DemoConfig
    from wristmir_ray.demo.line import PHANTOM_HASH_KEY, STEPS, run_step

    os.environ.setdefault("WRISTMIR_HASH_KEY", PHANTOM_HASH_KEY)
    ready = os.environ.get("BENCH_TRAINED")
    if ready:
        return DemoConfig(root=ready, ray={"progress": False})
    size = {} if exams is None else {"exams": exams}
    demo = DemoConfig(root=folder, ray={"progress": False}, **size)
    for step in STEPS:
        if step.name == until:
            return demo
        run_step(step, demo, JOBS)
    raise AssertionError(f"the line has no {until}")


def name_images(demo: Any, root: str, exams: int) -> list[tuple[str, str]]:
    """Publish EXAMS of any number at `root`, whose images are the demo's in turn; return addresses and pixel ids."""
    from wristmir_ray import keys, storage
    from wristmir_ray.schemas import EXAMS

    known = storage.read_table(demo.archive, EXAMS).to_pylist()
    rows = [
        {**known[i % len(known)], "source_id": f"{i:08d}", "exam_id": keys.digest("bench", str(i))}
        for i in range(exams)
    ]  # the one order says nothing of the other, as in an archive
    publish_rows(root, EXAMS, rows)
    return [(row["source_uri"], row["pixel_id"]) for row in rows]
