"""The ablation's figures as one table: by variant, with intervals within a seed and the spread over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES

POOLED = "pooled"
MATCH, MATCH_POSITIVE, RECALL, RANK = "match@10", "match@10, fractured", "recall@5", "mean rank"
NOTES = {
    MATCH: "share of the ten hits with the query's label for that bone, wrist then bone",
    MATCH_POSITIVE: "the same over queries with a fracture of that bone",
    RECALL: "image to text, distinct captions",
    RANK: "of the own caption among the distinct ones; lower is better",
}


def tabulate(runs: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Any]:
    """Return every figure of every variant.

    Args:
        runs: rows of variant, seed, steps, train_pairs, best_epoch, encoder, seconds and `figures` (of an evaluation).
        names: variant -> what it is, in the order of the table; the first is compared with.

    Returns:
        `runs` (without the figures), `variants` (variant -> says, figure -> column -> `seeds`: value, low and high of
        each, `mean`, `min` and `max` over seeds, `patients`: mean half width of the seeds' intervals by patient), and
        `differences` (variant -> figure -> column -> mean, min, max over seeds of variant minus the first).
    """
    kept = ("variant", "seed", "steps", "train_pairs", "best_epoch", "encoder", "seconds")
    by_variant = {name: _variant([r for r in runs if r["variant"] == name]) for name in names}
    first = next(iter(names))
    return {
        "runs": [{k: r[k] for k in kept} for r in runs],
        "variants": {name: {"says": names[name], "figures": figures} for name, figures in by_variant.items()},
        "differences": {n: _differences(f, by_variant[first]) for n, f in by_variant.items() if n != first},
    }


def markdown(table: Mapping[str, Any]) -> str:
    """Return the tables of `tabulate`, with `exams`, `seeds`, `epochs` and `cost` above them."""
    seeds = ", ".join(map(str, table["seeds"]))
    parts = [
        "# Ablation on phantoms\n",
        f"Phantom figures: {table['exams']} synthetic exams, one archive, training seeds {seeds}. Each cell: mean over "
        "seeds [lowest, highest seed] ± half width of the 95 % bootstrap interval by patient within a seed. Cost of "
        f"the last start, which skips what is published: {table['cost']['cpu_s']:.0f} CPU-s, "
        f"{table['cost']['wall_s']:.0f} s.\n",
        _trained(table),
    ]
    parts += [_figure(table, name) for name in NOTES]
    return "\n".join(parts)


def _trained(table: Mapping[str, Any]) -> str:
    lines = ["| variant | training pairs | steps | epoch taken, by seed |", "|---|---|---|---|"]
    for name, variant in table["variants"].items():
        own = [r for r in table["runs"] if r["variant"] == name]
        epochs = ", ".join(str(r["best_epoch"]) for r in own)
        lines.append(f"| {variant['says']} | {own[0]['train_pairs']} | {own[0]['steps']} | {epochs} |")
    return "\n".join([*lines, ""])


def _figure(table: Mapping[str, Any], name: str) -> str:
    first = next(iter(table["variants"].values()))
    columns = list(first["figures"][name])
    lines = [f"## {name}: {NOTES[name]}\n", f"| variant | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for variant in table["variants"].values():
        cells = [_cell(variant["figures"][name][column]) for column in columns]
        lines.append(f"| {variant['says']} | {' | '.join(cells)} |")
    for variant, figures in table["differences"].items():
        cells = [_signed(figures[name][column]) for column in columns]
        lines.append(f"| difference: {table['variants'][variant]['says']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _variant(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seeds = [_figures(r["figures"]) for r in rows]
    return {name: {c: _over([s[name][c] for s in seeds]) for c in seeds[0][name]} for name in NOTES}


_Figure = Mapping[str, float | None]
_NONE: _Figure = {"value": None, "low": None, "high": None}


def _figures(evaluation: Mapping[str, Any]) -> dict[str, dict[str, _Figure]]:
    """Return figure -> column -> value, low, high of one evaluation; null where no query can be judged."""
    two_stage = {b.value: evaluation["regions"][b.value]["two_stage"] for b in BONES}
    ranking = evaluation["image_to_text"]
    nothing = {"merged": {"recall@5": _NONE, "mean_rank": _NONE}}
    by_bone = {b.value: ranking["by_region"].get(b.value, nothing)["merged"] for b in BONES}
    text = {POOLED: ranking["merged"], **by_bone}
    return {
        MATCH: {bone: f["binary_match"] for bone, f in two_stage.items()},
        MATCH_POSITIVE: {bone: f["positive_binary_match"] for bone, f in two_stage.items()},
        RECALL: {column: f["recall@5"] for column, f in text.items()},
        RANK: {column: f["mean_rank"] for column, f in text.items()},
    }


def _over(seeds: Sequence[_Figure]) -> dict[str, Any]:
    halves = [(high - low) / 2 for s in seeds if (high := s["high"]) is not None and (low := s["low"]) is not None]
    return {
        **_spread([s["value"] for s in seeds]),
        "patients": float(np.mean(halves)) if halves else None,
        "seeds": [{k: s[k] for k in ("value", "low", "high")} for s in seeds],
    }


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [v for v in values if v is not None]
    if not known:
        return {"mean": None, "min": None, "max": None}
    return {"mean": float(np.mean(known)), "min": min(known), "max": max(known)}


def _differences(figures: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    def between(name: str, column: str) -> dict[str, float | None]:
        pairs = zip(figures[name][column]["seeds"], first[name][column]["seeds"], strict=True)
        both = [(a["value"], b["value"]) for a, b in pairs]
        return _spread([None if a is None or b is None else a - b for a, b in both])

    return {name: {column: between(name, column) for column in columns} for name, columns in figures.items()}


def _cell(f: _Figure) -> str:
    return f"{_number(f['mean'])} [{_number(f['min'])}, {_number(f['max'])}] ± {_number(f['patients'])}"


def _signed(f: _Figure) -> str:
    return f"{_number(f['mean'], '+')} [{_number(f['min'], '+')}, {_number(f['max'], '+')}]"


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{sign}.1f}" if abs(value) >= 2 else f"{value:{sign}.3f}"
