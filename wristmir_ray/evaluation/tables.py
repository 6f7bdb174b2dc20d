"""The figures as Markdown, the paper's beside them."""

from collections.abc import Mapping
from typing import Any

from wristmir_ray.anatomy import BONES

PAPER: dict[
    str, dict[str, tuple[float | None, ...]]
] = {  # WristMIR Tables 2 and 7: single-stage, two-stage, region-only
    "diagnosis_f1": {
        "distal_radius": (0.897, 0.934, None),
        "distal_ulna": (0.574, 0.771, None),
        "ulnar_styloid": (0.233, 0.554, None),
    },
    "binary_match": {
        "distal_radius": (0.824, 0.864, 0.892),
        "distal_ulna": (0.458, 0.666, 0.670),
        "ulnar_styloid": (0.374, 0.522, 0.516),
    },
    "class_match": {
        "distal_radius": (0.534, 0.578, 0.592),
        "distal_ulna": (0.372, 0.542, 0.522),
        "ulnar_styloid": (0.344, 0.468, 0.344),
    },
}
PAPER_RECALL = {5: 9.35, 10: 15.28, 50: 38.13, 100: 52.84}  # Table 1, per cent
MODES = ("single_stage", "two_stage", "region_only")
NOTE = "Figures of this archive; the paper's (in brackets) are of other data and stand there for orientation only."


def markdown(figures: Mapping[str, Any]) -> str:
    """Return every table of one evaluation."""
    parts = [f"# Evaluation\n\n{NOTE}\n", _facts(figures)]
    parts += [
        _retrieval(figures, metric) for metric in ("diagnosis_f1", "binary_match", "class_match", "vote_accuracy")
    ]
    parts += [
        _paired(figures),
        _consistency(figures),
        _ranking(figures["image_to_text"]),
        _probe(figures["linear_probe"]),
    ]
    return "\n".join(parts)


def _facts(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['queries']} queries of held-out patients, gallery {figures['gallery']}, pool {figures['pool']} "
        f"(pool / gallery {figures['pool_share']}; paper 0.11).\n"
    )


def _row(*cells: Any) -> str:
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _table(title: str, head: tuple[str, ...], rows: list[str]) -> str:
    return "\n".join([f"## {title}\n", _row(*head), _row(*["---"] * len(head)), *rows, ""])


def _with_interval(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _retrieval(figures: Mapping[str, Any], metric: str) -> str:
    rows = []
    for bone in BONES:
        own = figures["regions"][bone.value]
        paper = PAPER.get(metric, {}).get(bone.value, (None, None, None))
        cells = [
            _with_interval(own[mode][metric]) + (f" ({p:.3f})" if p is not None else "")
            for mode, p in zip(MODES, paper, strict=True)
        ]
        rows.append(_row(bone.words, *cells, own["chance"].get(metric, "")))
    return _table(metric.replace("_", " "), ("region", *(m.replace("_", " ") for m in MODES), "chance"), rows)


def _paired(figures: Mapping[str, Any]) -> str:
    rows = [
        _row(bone.words, name.replace("_", " "), _with_interval(d["diagnosis_f1"]), _with_interval(d["binary_match"]))
        for bone in BONES
        for name, d in figures["paired"][bone.value].items()
    ]
    return _table("paired differences", ("region", "difference", "diagnosis F1", "binary match"), rows)


def _consistency(figures: Mapping[str, Any]) -> str:
    rows = []
    for bone in BONES:
        for mode, f in figures["consistency"][bone.value].items():
            rows.append(_row(bone.words, mode.replace("_", " "), f["same_side_share"], f["age_gap_years"]))
    chance = figures["consistency"]["chance"]
    rows.append(_row("chance", "", chance["same_side_share"], chance["age_gap_years"]))
    return _table("what stage 1 is for", ("region", "mode", "same side", "age gap, years"), rows)


def _ranking(figures: Mapping[str, Any]) -> str:
    if not figures["queries"]:
        return "## image to text\n\nno captions\n"
    rows = []
    for name in figures["unmerged"]:
        k = int(name.split("@")[1]) if "@" in name else 0
        paper = f" ({PAPER_RECALL[k] / 100:.3f})" if k in PAPER_RECALL else ""
        both = (_with_interval(figures[kind][name]) for kind in ("unmerged", "merged"))
        rows.append(_row(name + paper, *both))
    title = f"image to text, {figures['gallery']} captions, {figures['distinct_captions']} distinct"
    return _table(title, ("figure", "unmerged", "merged"), rows)


def _probe(figures: Mapping[str, Any]) -> str:
    rows = [
        _row(
            region.replace("_", " "),
            f.get("auroc", "-"),
            f.get("auprc", "-"),
            f.get("f1", "-"),
            f.get("prevalence", "-"),
        )
        for region, f in figures.items()
    ]
    return _table("linear probe", ("embedding", "AUROC", "AUPRC", "F1", "prevalence"), rows)
