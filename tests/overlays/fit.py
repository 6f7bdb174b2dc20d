"""Make `imaging/burned_in.json`, the weights by which the gate tells text from what resembles it.

    python -m tests.overlays.fit [WRISTS]

Draws wrists six times each, three of them with text, in the fonts, layouts and a seed for development, takes
every candidate row, and trains on the exams' best rows. A sixth of as many wrists carry a marker of four letters,
the longest that is none. The threshold holds `HELD_SHARE` of the exams without
text by networks that were trained on other wrists (three folds); what it finds of those with text is printed
beside it. No font, layout or seed of `bench_deid` is used for either.
"""

import json
import sys
from typing import Any

import numpy as np

from tests.overlays.harvest import VERSIONS, Harvest, gather, gather_markers, join
from tests.overlays.train import train
from wristmir_ray.imaging.scorer import FILE, NAMES, Scorer

SEED = 1000
MARKER_SEED = 2000
FOLDS = 3
HELD_SHARE = 0.0125
"""Of exams without text: the gate's limit is 0.02, and a sample's share strays by 0.003."""


def main(wrists: int) -> None:
    """Train on so many wrists, and choose the threshold."""
    make(gather(SEED, wrists), gather_markers(MARKER_SEED, wrists // 6))


def make(harvest: Harvest, markers: Harvest) -> None:
    """Write the weights and the threshold that harvests ask for; markers are trained on only."""
    threshold = choose(harvest, markers)
    FILE.write_text(dumps(train(join(harvest, markers)), threshold))


def choose(harvest: Harvest, markers: Harvest) -> float:
    """Return the threshold; print what it and others find and hold of exams that were not trained on."""
    fold = np.arange(len(harvest.has_text)) // VERSIONS % FOLDS
    margins = np.zeros(len(harvest.truth))
    for k in range(FOLDS):
        scorer = train(join(harvest.of(fold != k), markers))
        margins[fold[harvest.owners] == k] = scorer.margins(harvest.of(fold == k).figures)
    best = harvest.best(margins)
    with_text, without = best[harvest.has_text], best[~harvest.has_text]
    for held in (HELD_SHARE, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03):
        threshold = float(np.quantile(without, 1 - held))
        print(f"{threshold:6.2f}: finds {(with_text >= threshold).mean():.4f}, holds {held:.4f}", file=sys.stderr)
    return float(np.quantile(without, 1 - HELD_SHARE))


def dumps(scorer: Scorer, threshold: float) -> str:
    """Return the file's text: a line a figure."""
    rows = zip(NAMES, scorer.low, scorer.high, scorer.hidden, strict=True)
    figures = {n: {"low": _short(a), "high": _short(b), "weights": _short(w)} for n, a, b, w in rows}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in figures.items())
    rest = {"bias": scorer.bias, "out": scorer.out, "offset": scorer.offset, "threshold": threshold}
    tail = ",\n".join(f"  {json.dumps(name)}: {json.dumps(_short(value))}" for name, value in rest.items())
    return f'{{\n  "figures": {{\n{lines}\n  }},\n{tail}\n}}\n'


def _short(value: Any) -> Any:
    return np.round(value, 3).tolist()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 380)
