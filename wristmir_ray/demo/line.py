"""The steps of the line, in order: each is a job of its own, run here in one process on one Ray."""

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wristmir_ray import keys
from wristmir_ray.config import load_config
from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.job import Summary

PHANTOM_HASH_KEY = "phantoms are nobody: no secret is needed"
"""Keys the ids of synthetic patients. A real archive needs a real secret, see `keys.hash_key`."""


@dataclass(frozen=True)
class Step:
    """One job of the line: its room, its YAML, and what the demo lays over it."""

    name: str
    room: str
    config_class: str
    yaml: str
    settings: Callable[[DemoConfig], Mapping[str, object]]


def _images(config: DemoConfig) -> dict[str, object]:
    return {
        "images": f"{config.phantoms}/images",
        "metadata.path": f"{config.phantoms}/metadata.csv",
        "reports.path": f"{config.phantoms}/reports.csv",
    }


STEPS = (
    Step(
        "make_phantoms",
        "phantom",
        "PhantomConfig",
        "make_phantoms.yaml",
        lambda c: {
            "out": c.phantoms,
            "exams": c.exams,
            "seed": c.seed,
            "sealed_reports": c.sealed_reports,
            "replace": True,
        },
    ),
    Step("ingest", "ingest", "IngestConfig", "ingest.yaml", _images),
    Step("mine_reports", "mining", "MiningConfig", "mine_reports.yaml", lambda _: {}),
    Step(
        "train_detector",
        "detection",
        "DetectionConfig",
        "train_detector.yaml",
        lambda c: {"boxes": f"{c.phantoms}/boxes.parquet", "seed": c.seed},
    ),
    Step("preprocess", "preprocess", "PreprocessConfig", "preprocess.yaml", lambda _: {}),
    Step("train_clip", "training", "TrainClipConfig", "train_clip_demo.yaml", lambda c: {"seed": c.seed}),
    Step("build_index", "retrieval", "RetrievalConfig", "build_index.yaml", lambda _: {}),
    Step("evaluate", "evaluation", "EvaluationConfig", "evaluate.yaml", lambda c: {"seed": c.seed}),
)


def run_step(step: Step, config: DemoConfig, jobs: Path) -> Summary:
    """Run one step exactly as `python jobs/X.py --config X.yaml --setting value ...` would.

    Raises:
        WristmirError: as the job itself.
    """
    settings = {"root": config.archive, **step.settings(config), **config.overrides.get(step.name, {})}
    argv = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    cls = getattr(importlib.import_module(f"wristmir_ray.{step.room}.config"), step.config_class)
    run = importlib.import_module(f"wristmir_ray.{step.room}.pipeline").run
    started = time.monotonic()
    summary: Summary = run(load_config(cls, argv, jobs / step.yaml))
    return Summary(**{**summary.__dict__, "seconds": time.monotonic() - started})


def hash_key() -> None:
    """Give the ids of synthetic patients a key where the user has none."""
    os.environ.setdefault(keys.HASH_KEY_VARIABLE, PHANTOM_HASH_KEY)


def run_line(config: DemoConfig, jobs: Path) -> Iterator[tuple[str, Summary]]:
    """Run every step in order and yield its summary as it ends; finished steps are skipped by run id."""
    hash_key()
    for number, step in enumerate(STEPS, 1):
        print(f"\n[{number}/{len(STEPS)}] {step.name}", flush=True)
        summary = run_step(step, config, jobs)
        print(summary, flush=True)
        yield step.name, summary


def facts_of(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    """Return each step's facts, rows and rejects as plain data."""
    return {
        name: {
            "rows": s.rows,
            "rejects": s.rejects,
            "skipped": s.skipped,
            "seconds": round(s.seconds, 1),
            "runs": s.runs,
            "facts": s.facts,
        }
        for name, s in summaries.items()
    }
