"""Run the line, measure it, ask it one question over HTTP, and write down what was seen."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wristmir_ray import storage
from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.demo.line import facts_of, run_line
from wristmir_ray.demo.meter import Meter
from wristmir_ray.demo.query import ask
from wristmir_ray.demo.real import run_real
from wristmir_ray.demo.report import write_report
from wristmir_ray.demo.sealed import score_sealed
from wristmir_ray.demo.seeds import missed, tabulate
from wristmir_ray.errors import WristmirError
from wristmir_ray.job import Summary

PLACES = (
    ("synthetic archive", "phantoms"),
    ("tables and models", "archive"),
    ("figures", "summary.json"),
    ("report", "report.html"),
)


def run(config: DemoConfig, jobs: Path) -> Summary:
    """Run the demo once, or once a seed.

    Args:
        config: what to run.
        jobs: folder of the job YAMLs.

    Raises:
        WristmirError: over several seeds, a figure that must hold did not; all are written before.
    """
    if not config.seeds:
        places = {name: storage.join(config.root, place) for name, place in PLACES}
        return _summary(config, _run_seed(config, jobs), places)
    figures = {}
    for seed in config.seeds:
        one = config.with_(seed=seed, seeds=[], root=storage.join(config.root, f"seed-{seed}"))
        figures[seed] = _run_seed(one, jobs)
    table = tabulate(figures)
    storage.write_bytes(config.results, json.dumps(table, indent=1, sort_keys=True).encode())
    if missed(table):
        raise WristmirError(f"gates missed: {', '.join(missed(table))}; the figures stand in {config.results}")
    places = {f"seed {seed}": storage.join(config.root, f"seed-{seed}", "report.html") for seed in figures}
    return _summary(config, figures[config.seeds[0]], {**places, "figures of all seeds": config.results})


def _run_seed(config: DemoConfig, jobs: Path) -> dict[str, Any]:
    """Run one seed; write summary.json and report.html; return the summary."""
    storage.check_writable(config.root)
    before = _earlier(config.root)
    with Meter() as meter:
        steps = {name: _as_first_done(s, name, before) for name, s in run_line(config, jobs)}
        sealed = score_sealed(config)
        real = run_real(config, jobs, os.environ.get("WRISTMIR_REAL_DATA"))
        answer = _answer(config, jobs, before, steps)
    skipped = all(s.skipped for s in steps.values())
    cost = {"wall_s": round(meter.wall_s, 1), "cpu_s": round(meter.cpu_s, 1), "peak_gib": round(meter.peak_gib, 2)}
    if skipped and before:  # the cost of the run that did the work, not of finding it done
        cost = {name: before[name] for name in cost}
    summary = {
        **cost,
        "seed": config.seed,
        "exams": steps["ingest"].rows,
        "rejects": {name: s.rejects for name, s in steps.items() if s.rejects},
        "roi_map50": steps["train_detector"].facts["roi_map50"],
        "bone_map50": steps["train_detector"].facts["bone_map50"],
        "findings_micro_f1": round(sealed["f1"], 4),
        "findings_by_field": {n: round(f["f1"], 4) for n, f in sealed["fields"].items()},
        "retrieval": steps["evaluate"].facts,
        "http": answer,
        "steps": facts_of(steps),
    }
    storage.write_bytes(storage.join(config.root, "summary.json"), json.dumps(summary, indent=1, default=str).encode())
    extra = {"flow": _flow(steps), "places": [(n, storage.join(config.root, p)) for n, p in PLACES], **real}
    write_report(config.archive, Path(config.root) / "report.html", summary, extra)
    return summary


def _answer(
    config: DemoConfig, jobs: Path, before: Mapping[str, Any] | None, steps: Mapping[str, Summary]
) -> dict[str, Any]:
    """Ask the service, unless the very same archive was asked before."""
    index = steps["build_index"].runs
    if before and before.get("http", {}).get("index") == index:
        return dict(before["http"])
    return {**ask(config, jobs.parent / "serve_config.yaml"), "index": index}


def _as_first_done(step: Summary, name: str, before: Mapping[str, Any] | None) -> Summary:
    """Return a skipped step's summary with what the run that did the work had to say."""
    earlier = (before or {}).get("steps", {}).get(name)
    if not step.skipped or not earlier or earlier["runs"] != step.runs:
        return step
    return replace(step, **{n: earlier[n] for n in ("rows", "rejects", "seconds", "facts")})


def _earlier(root: str) -> dict[str, Any] | None:
    try:
        earlier: dict[str, Any] = json.loads(storage.read_bytes(storage.join(root, "summary.json")))
    except FileNotFoundError:
        return None
    return earlier


def _flow(steps: Mapping[str, Summary]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "rows": s.rows,
            "rejected": sum(s.rejects.values()),
            "rejects": sorted(s.rejects.items()),
            "seconds": round(s.seconds, 1),
            "skipped": s.skipped,
        }
        for name, s in steps.items()
    ]


def _summary(config: DemoConfig, figures: Mapping[str, Any], places: Mapping[str, str]) -> Summary:
    shown = ("seed", "wall_s", "cpu_s", "peak_gib", "roi_map50", "bone_map50", "findings_micro_f1")
    return Summary(
        job="demo",
        runs={},
        rows=int(figures["exams"]),
        rejects=figures["steps"]["ingest"]["rejects"],
        max_reject_share=config.max_reject_share,
        facts={**{name: figures[name] for name in shown}, **places},
    )
