"""The demo over several seeds: is the gain of the second stage there every time?"""

from collections.abc import Mapping
from typing import Any

GATES = {"distal_radius": -0.02, "distal_ulna": 0.0, "ulnar_styloid": 0.0}
"""Region -> what the lower bound of (two-stage - single-stage) diagnosis F1 must exceed, in every seed."""


def tabulate(figures: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seeds' retrieval figures side by side, and which gates held.

    Args:
        figures: seed -> that seed's summary (`summary.json`).

    Returns:
        `seeds` (seed -> cost, detector, findings and retrieval figures) and `gates` (region -> the
        lowest lower bound over the seeds, the bound it must exceed, whether it did).
    """
    seeds = {
        str(seed): {
            name: f[name]
            for name in (
                "wall_s",
                "cpu_s",
                "peak_gib",
                "exams",
                "roi_map50",
                "bone_map50",
                "findings_micro_f1",
                "retrieval",
            )
        }
        for seed, f in figures.items()
    }
    gates = {}
    for region, bound in GATES.items():
        lows = [
            f["retrieval"]["paired"][region]["two_stage_minus_single_stage"]["diagnosis_f1"]["low"]
            for f in figures.values()
        ]
        gates[region] = {"lowest_lower_bound": min(lows), "must_exceed": bound, "held": min(lows) > bound}
    return {"seeds": seeds, "gates": gates}
