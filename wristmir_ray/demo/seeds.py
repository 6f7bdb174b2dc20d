"""The demo over several seeds: is the gain of the second stage there every time?"""

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

FLOORS = {"roi_map50": 0.98, "bone_map50": 0.95, "findings_micro_f1": 0.97}
CEILINGS = {"cpu_s": 900.0, "peak_gib": 8.0}
"""Figures of a run that must not be below, and not above, in every seed."""
GATES = {"distal_radius": -0.02, "distal_ulna": 0.0, "ulnar_styloid": 0.0}
"""Region -> what the lower bound of (two-stage - single-stage) diagnosis F1 must exceed, in every seed."""


def tabulate(figures: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seeds' retrieval figures side by side, and which gates held.

    Args:
        figures: seed -> that seed's summary (`summary.json`).

    Returns:
        `environment` (what they were measured on), `seeds` (seed -> cost, detector, findings and
        retrieval figures) and `gates` (name, the worst value over the seeds, the bound, whether it held).
    """
    seeds = {str(seed): _kept(f) for seed, f in figures.items()}
    return {"environment": environment(), "seeds": seeds, "gates": [*_figures(figures), *_gains(figures)]}


def _kept(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of one seed's summary: figures alone, no place of this machine."""
    retrieval = {name: value for name, value in figures["retrieval"].items() if name != "tables"}
    names = ("wall_s", "exams", *FLOORS, *CEILINGS)
    return {**{name: figures[name] for name in names}, "retrieval": retrieval}


def missed(table: Mapping[str, Any]) -> list[str]:
    """Return the names of the gates that were missed."""
    return [gate["name"] for gate in table["gates"] if not gate["held"]]


def _figures(figures: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    lowest = {name: min(f[name] for f in figures.values()) for name in FLOORS}
    highest = {name: max(f[name] for f in figures.values()) for name in CEILINGS}
    low = [{"name": n, "lowest": v, "bound": FLOORS[n], "held": v >= FLOORS[n]} for n, v in lowest.items()]
    return low + [{"name": n, "highest": v, "bound": CEILINGS[n], "held": v <= CEILINGS[n]} for n, v in highest.items()]


def _gains(figures: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    gates = []
    for region, bound in GATES.items():
        gains = [f["retrieval"]["paired"][region]["two_stage_minus_single_stage"] for f in figures.values()]
        lowest = min(gain["diagnosis_f1"]["low"] for gain in gains)
        gates.append({"name": f"second stage, {region}", "lowest": lowest, "bound": bound, "held": lowest > bound})
    return gates


def environment() -> dict[str, Any]:
    """Return the processor, its cores, and the versions that decide a figure."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    versions = {
        name: metadata.version(name) for name in ("ray", "torch", "open_clip_torch", "ultralytics", "faiss-cpu")
    }
    return {
        "cpu": next(names, platform.processor()),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
    }
