"""How much a row of marks looks like text: a network of one hidden layer over the row's figures.

    score = logistic(tanh(u W + b) . v + c - threshold),  u = a figure between its bounds, as -1 to 1

`burned_in.json` holds bounds and weights by the figures' names; `python -m tests.overlays.fit` makes it.
"""

import json
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from wristmir_ray.imaging.rows import RowFigures

FILE = Path(__file__).with_name("burned_in.json")
NAMES = tuple(f.name for f in fields(RowFigures))


@dataclass(frozen=True, slots=True)
class Scorer:
    """Bounds and weights, float64."""

    low: np.ndarray
    """(figures,)"""
    high: np.ndarray
    hidden: np.ndarray
    """(figures, units)"""
    bias: np.ndarray
    """(units,)"""
    out: np.ndarray
    """(units,)"""
    offset: float
    """c - threshold."""

    def inputs(self, figures: np.ndarray) -> np.ndarray:
        """Return (rows, figures) between -1 and 1."""
        return np.asarray(2 * (np.clip(figures, self.low, self.high) - self.low) / (self.high - self.low) - 1)

    def margins(self, figures: np.ndarray) -> np.ndarray:
        """Return (rows,) scores before the logistic: from 0 on a row is taken for text.

        Args:
            figures: (rows, figures) in the order of `RowFigures`.
        """
        return np.asarray(np.tanh(self.inputs(figures) @ self.hidden + self.bias) @ self.out + self.offset)

    def scores(self, figures: np.ndarray) -> np.ndarray:
        """Return (rows,) scores, 0 to 1."""
        return np.asarray(1 / (1 + np.exp(-np.clip(self.margins(figures), -50, 50))))


@cache
def load_scorer(file: Path = FILE) -> Scorer:
    """Return the scorer that a file holds.

    Raises:
        KeyError: the file lacks a figure's weights.
    """
    stored: dict[str, Any] = json.loads(file.read_text())
    rows = [stored["figures"][name] for name in NAMES]
    return Scorer(
        low=np.array([row["low"] for row in rows]),
        high=np.array([row["high"] for row in rows]),
        hidden=np.array([row["weights"] for row in rows]),
        bias=np.array(stored["bias"]),
        out=np.array(stored["out"]),
        offset=stored["offset"] - stored["threshold"],
    )
