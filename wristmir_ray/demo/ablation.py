"""What each choice of the paper's training is worth on phantoms: variants x seeds, each a run of the usual jobs."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wristmir_ray import storage
from wristmir_ray.demo.ablation_table import markdown, tabulate
from wristmir_ray.demo.config import AblationConfig, DemoConfig
from wristmir_ray.demo.line import STEPS, hash_key, run_step
from wristmir_ray.demo.meter import Meter
from wristmir_ray.job import Summary

log = logging.getLogger(__name__)

ARCHIVE = ("make_phantoms", "ingest", "mine_reports", "train_detector", "preprocess")
MEASURED = ("train_clip", "build_index", "evaluate")
TABLE, DATA = "ablation.md", "ablation.json"


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    says: str
    settings: Mapping[str, str]
    """Laid over the demo's training."""
    equal_steps: bool = False
    """As many optimiser steps as the first variant took, not as many epochs."""


_WRISTS = {"regions": "[wrist]"}
VARIANTS = (
    Variant("multi_positive", "wrists and bones, multi-positive loss", {}),
    Variant("global_only_epochs", "wrists alone, as many epochs", _WRISTS),
    Variant("global_only_steps", "wrists alone, as many steps", _WRISTS, equal_steps=True),
    Variant("single_positive", "wrists and bones, single-positive loss", {"loss": "single_positive"}),
    Variant("frozen_text", "wrists and bones, text tower frozen", {"trainable.text": "false"}),
)
"""The first is what the others are compared with."""


def run(config: AblationConfig, jobs: Path) -> Summary:
    """Make the archive, train, index and evaluate every variant with every seed, write the tables.

    What is published already is skipped, so that a killed ablation goes on where it stopped. There is one
    archive: its test patients are the same for all, and the bootstrap draws among them; the seeds are those
    of training.

    Args:
        config: what to run.
        jobs: folder of the job YAMLs.

    Raises:
        WristmirError: as the jobs themselves.
    """
    storage.check_writable(config.root)
    with Meter() as meter:
        hash_key()
        exams = [_step(name, _demo(config, config.archive_seed), jobs) for name in ARCHIVE][1]
        runs = [row for seed in config.seeds for row in _seed(config, seed, jobs)]
    cost = {"wall_s": round(meter.wall_s, 1), "cpu_s": round(meter.cpu_s, 1), "peak_gib": round(meter.peak_gib, 2)}
    skipped = all(r["skipped"] for r in runs)
    found = tabulate(runs, {v.name: v.says for v in VARIANTS})
    table = {"exams": config.exams, "seeds": config.seeds, "epochs": config.epochs, "cost": cost, **found}
    if not skipped or not storage.exists(storage.join(config.root, DATA)):  # the cost of the run that did the work
        for name, text in ((DATA, json.dumps(table, indent=1)), (TABLE, markdown(table))):
            storage.write_bytes(storage.join(config.root, name), text.encode())
    facts = {**cost, "table": storage.join(config.root, TABLE), "figures": storage.join(config.root, DATA)}
    return Summary("ablation", {}, exams.rows, exams.rejects, skipped, max_reject_share=1.0, facts=facts)


def _seed(config: AblationConfig, seed: int, jobs: Path) -> list[dict[str, Any]]:
    """Return a row a variant: what it was trained with, and its figures."""
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        steps = {"steps": str(rows[0]["steps"])} if variant.equal_steps else {"steps": "null"}
        training = {"epochs": str(config.epochs), **steps, **variant.settings}
        demo = _demo(config, seed, {"train_clip": training, "build_index": {"splits": "[test]"}})
        print(f"\n== seed {seed}: {variant.says}", flush=True)
        trained, _, evaluated = (_step(name, demo, jobs) for name in MEASURED)
        rows.append(
            {
                "variant": variant.name,
                "seed": seed,
                "steps": trained.facts["steps"],
                "train_pairs": trained.facts["train_pairs"],
                "best_epoch": trained.facts["epoch"],
                "encoder": trained.runs["encoder"],
                "skipped": trained.skipped and evaluated.skipped,
                "seconds": round(trained.seconds, 1),
                "figures": evaluated.facts,
            }
        )
    return rows


def _step(name: str, demo: DemoConfig, jobs: Path) -> Summary:
    (step,) = (s for s in STEPS if s.name == name)
    summary = run_step(step, demo, jobs)
    print(f"{name}: {'already published' if summary.skipped else 'done'} in {summary.seconds:.1f} s", flush=True)
    return summary


def _demo(config: AblationConfig, seed: int, own: Mapping[str, Mapping[str, str]] | None = None) -> DemoConfig:
    own = own or {}
    overrides = {n: {**own.get(n, {}), **config.overrides.get(n, {})} for n in own.keys() | config.overrides.keys()}
    return DemoConfig(
        root=config.root, exams=config.exams, seed=seed, sealed_reports=20, log=config.log, overrides=overrides
    )
