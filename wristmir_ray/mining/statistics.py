"""Composition of a mined archive in the form of the paper's Table 3 (WristMIR Appendix B)."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wristmir_ray.anatomy import BONES, FractureType, Healing

_MORPHOLOGY = {"salter_harris": "Salter–Harris", "buckle": "Buckle", "transverse": "Transverse"}


def table3(exams: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Count exams and fractures.

    Args:
        exams: per exam its fractures that are present, each with region, fracture_type, healing;
            an empty sequence is a normal exam. Fractures outside the three bones are left out.

    Returns:
        exams, fractures, normal, positive, per_case (fractures -> exams), location, morphology,
        healing.
    """
    bones = {r.value for r in BONES}
    per_case: Counter[int] = Counter()
    location: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    healing = 0
    for exam in exams:
        own = [f for f in exam if f["region"] in bones]
        per_case[len(own)] += 1
        location.update(f["region"] for f in own)
        kinds.update(_family(f["fracture_type"]) for f in own)
        healing += sum(f["healing"] == Healing.HEALING for f in own)
    return {
        "exams": per_case.total(),
        "fractures": location.total(),
        "normal": per_case[0],
        "positive": per_case.total() - per_case[0],
        "per_case": {str(n): per_case[n] for n in sorted(per_case)},
        "location": {r.value: location[r.value] for r in BONES},
        "morphology": dict(sorted(kinds.items())),
        "healing": healing,
    }


def _family(kind: str) -> str:
    return "salter_harris" if kind.startswith(FractureType.SALTER_HARRIS.value) else kind


def markdown(stats: Mapping[str, Any]) -> str:
    """Return the counts as a Markdown table in the paper's order."""
    rows: list[tuple[str, Any]] = [
        ("*Dataset overview*", ""),
        ("Total examinations", stats["exams"]),
        ("Total region-level fractures", stats["fractures"]),
        ("Normal cases (0 fractures)", stats["normal"]),
        ("Fracture-positive cases (≥ 1)", stats["positive"]),
        ("*Fractures per case*", ""),
        *stats["per_case"].items(),
        ("*Fracture location*", ""),
        *((name.replace("_", " ").capitalize(), n) for name, n in stats["location"].items()),
        ("*Fracture morphology*", ""),
        *((label, stats["morphology"].get(name, 0)) for name, label in _MORPHOLOGY.items()),
        ("Healing fractures", stats["healing"]),
    ]
    lines = [f"| {name} | {n:,} |" if n != "" else f"| {name} | |" for name, n in rows]
    return "\n".join(["| | Exams or fractures |", "|---|---:|", *lines])


def plot(stats: Mapping[str, Any]) -> bytes:
    """Return the counts as a PNG: fractures a case, location, morphology."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    panels = {
        "fractures a case (exams)": stats["per_case"],
        "location (fractures)": {n.replace("_", " "): v for n, v in stats["location"].items()},
        f"morphology (fractures; {stats['healing']:,} healing)": {
            n.replace("_", " "): v for n, v in sorted(stats["morphology"].items(), key=lambda item: -item[1])
        },
    }
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for axes, (title, counts) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        bars = axes.barh(list(counts), list(counts.values()), color="#3b82c4")
        axes.bar_label(bars, fmt="{:,.0f}", padding=2)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(title)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
