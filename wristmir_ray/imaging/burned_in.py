"""Burned-in text: lines of small letters or figures, by their looks alone; nothing is read.

The stored pixels are judged at full size and at half of it (large images at a quarter and less, too),
for letters of 5 px to 64 px, bright or dark, along rows or columns. Candidates are rows of small sharp
marks (`marks`); what a row looks like (`rows`) is weighed by a small network (`scorer`).

Found are lines of five letters or more. A side's letter with up to three initials or figures is a
marker and no reason. A longer word of lead (PORTABLE) cannot be told from a name without reading, and
is found; a name of four letters that stands alone is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from wristmir_ray.imaging.marks import Marks, as_levels, edges, find_marks, find_rows
from wristmir_ray.imaging.neighbours import glyphs
from wristmir_ray.imaging.rows import RowFigures, measure
from wristmir_ray.imaging.scorer import load_scorer

_LARGE_PX = 1400
"""Longer side of an image from which on letters may be larger, and are looked for at a quarter of the size."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """Where a line seems to be."""

    box: tuple[int, int, int, int]
    """(x0, y0, x1, y1) px of the stored image, half-open."""
    score: float
    """0 to 1; from 0.5 on it is taken for text."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be text."""

    box: tuple[int, int, int, int]
    figures: RowFigures


def find_text(stored: np.ndarray) -> list[TextLine]:
    """Return what may be lines of text, best first.

    Args:
        stored: (H, W) pixels as they are stored, 8 or 16 bits, signed or not.
    """
    rows = list(candidates(stored))
    if not rows:
        return []
    scores = load_scorer().scores(np.stack([row.figures.as_array() for row in rows]))
    lines = [TextLine(row.box, float(score)) for row, score in zip(rows, scores, strict=True)]
    return sorted(lines, key=lambda line: (-line.score, line.box))


def candidates(stored: np.ndarray) -> Iterator[Candidate]:
    """Yield rows of marks that may be text, coarse levels first."""
    levels = [as_levels(stored)]
    while len(levels) < 2 or max(levels[-2].shape) > _LARGE_PX:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    large = np.zeros((0, 4), np.int64)
    for n in reversed(range(len(levels))):
        edge = edges(levels[n])
        both = [find_marks(levels[n], edge, dark) for dark in (False, True)]
        for marks, others in zip(both, reversed(both), strict=True):
            yield from _along(marks, others, large, n, turned=False)
            yield from _along(marks.turned(), others.turned(), large[:, [1, 0, 3, 2]], n, turned=True)
        large = np.concatenate([glyphs(marks) for marks in both])


def _along(marks: Marks, others: Marks, large: np.ndarray, n: int, turned: bool) -> Iterator[Candidate]:
    smallest, tallest = (5, 22) if n == 0 else (8, 32)
    for row in find_rows(marks, smallest, tallest):
        figures = measure(marks, row, others, large)
        if figures:
            x, y, w, h, _ = marks.boxes[row].T
            box = [int(v) << n for v in (x.min(), y.min(), (x + w).max(), (y + h).max())]
            order = (1, 0, 3, 2) if turned else (0, 1, 2, 3)
            yield Candidate((box[order[0]], box[order[1]], box[order[2]], box[order[3]]), figures)
