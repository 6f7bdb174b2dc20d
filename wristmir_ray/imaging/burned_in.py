"""Burned-in text: lines of small letters or figures, by their looks alone; nothing is read.

The stored pixels are judged at full size and at half of it (large images at a quarter and less, too),
for letters of 5 px to 64 px, bright or dark, along rows or columns. Candidates are rows of small sharp
marks (`marks`); the figures of a row (`rows`), each between bounds, make a logistic score.

Found are lines of five letters or more. A side's letter with up to three initials or figures is a
marker and no reason. A longer word of lead (PORTABLE) cannot be told from a name without reading, and
is found; a name of four letters that stands alone is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from wristmir_ray.imaging.marks import LEAST_LETTERS, Marks, as_levels, edges, find_marks, find_rows
from wristmir_ray.imaging.rows import RowFigures, count_letters, measure

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


TERMS = (
    ("contrast", 0.0, 1.0, 2.08),
    ("contrast", 1.0, 1.8, 3.58),
    ("contrast", 1.8, 3.0, 2.60),
    ("sharpness", 0.4, 0.9, 2.00),
    ("strokes", 0.4, 1.4, 3.50),
    ("strokes", 2.0, 3.0, -0.67),
    ("raggedness", 0.0, 0.6, -1.87),
    ("marks", 2.0, 8.0, 1.80),
    ("gap", 0.25, 0.8, -0.06),
    ("extent", 1.2, 2.5, -1.40),
    ("slant", 0.0, 0.2, -1.76),
    ("unevenness", 0.0, 0.25, -2.02),
    ("unevenness", 0.25, 0.8, -0.21),
    ("fill", 0.2, 0.35, 2.02),
    ("fill", 0.65, 0.95, -0.59),
    ("variety", 0.0, 0.15, 0.84),
    ("sameness", 0.5, 1.0, -2.06),
    ("repetition", 0.4, 1.0, -5.78),
)
"""Figure, bounds, and what the score gains (in nats) from the lower bound to the upper one.

Fitted by `python -m tests.overlays.fit 600`: 1,200 phantoms with and without text."""
_INTERCEPT = -8.94
_THRESHOLD = 1.67
"""Where the score is one half. Chosen by the same program on 1,200 phantoms of another seed, in the same fonts: it
finds .992 of those with text and holds .015 of those without, most of which carry staples, beads, plates or arrows."""


def find_text(stored: np.ndarray) -> list[TextLine]:
    """Return what may be lines of text, best first.

    Args:
        stored: (H, W) pixels as they are stored, 8 or 16 bits, signed or not.
    """
    lines = [TextLine(c.box, score(c.figures)) for c in candidates(stored)]
    return sorted(lines, key=lambda line: (-line.score, line.box))


def score(figures: RowFigures) -> float:
    """Return how much a row looks like text: logistic of a weighted sum of its figures, each between bounds."""
    total = _INTERCEPT - _THRESHOLD
    for name, low, high, weight in TERMS:
        total += weight * (min(max(getattr(figures, name), low), high) - low) / (high - low)
    return float(1 / (1 + np.exp(-total)))


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
        large = np.concatenate([_glyphs(marks) for marks in both])


def _along(marks: Marks, others: Marks, large: np.ndarray, n: int, turned: bool) -> Iterator[Candidate]:
    smallest, tallest = (5, 22) if n == 0 else (8, 32)
    for row in find_rows(marks, smallest, tallest):
        figures = measure(marks, row)
        if figures and not (_is_piecework(marks, row, large) or _is_ground(marks, row, others)):
            x, y, w, h, _ = marks.boxes[row].T
            box = [int(v) << n for v in (x.min(), y.min(), (x + w).max(), (y + h).max())]
            order = (1, 0, 3, 2) if turned else (0, 1, 2, 3)
            yield Candidate((box[order[0]], box[order[1]], box[order[2]], box[order[3]]), figures)


def _glyphs(marks: Marks) -> np.ndarray:
    """Return int (n, 4): x0, y0, x1, y1, in pixels of the next finer level, of marks like large letters."""
    x, y, w, h, area = marks.boxes.T
    longer = np.maximum(w, h)
    large = (longer >= 7) & (longer <= 40) & (area >= 15)
    large[0] = False
    return np.asarray(2 * np.stack([x, y, x + w, y + h], 1)[large])


def _is_piecework(marks: Marks, row: np.ndarray, large: np.ndarray) -> bool:
    """Return whether a row has too few letters when pieces of one large letter count once.

    Thick strokes are no marks, their ends and corners are: a marker's letters fall into pieces.
    """
    x, y, w, h, _ = marks.boxes[row].T
    height = int(h.max())
    long, tall = (large[:, 2] - large[:, 0], large[:, 3] - large[:, 1])
    taller = large[(tall >= 1.4 * height) & (long <= 1.5 * tall)]
    if not len(taller) or len(row) < 2:
        return False
    column, middle = (x + w / 2)[:, None], (y + h / 2)[:, None]
    inside = (column > taller[:, 0]) & (column < taller[:, 2]) & (middle > taller[:, 1]) & (middle < taller[:, 3])
    inside &= inside.sum(axis=0) <= 5  # more is a line of text in a frame
    owned = inside.any(axis=1)
    owners = len(np.unique(inside[owned].argmax(axis=1)))
    free = count_letters(x[~owned], w[~owned], height) if not owned.all() else 0.0
    return owners + free < LEAST_LETTERS


def _is_ground(marks: Marks, row: np.ndarray, others: Marks) -> bool:
    """Return whether a row is what shows between and within a few letters of the other polarity.

    Letters reach beyond their counters and gaps on all sides; it is they that are counted. One mark that
    encloses the row is none of them: it is the label or the frame that the line stands in.
    """
    x, y, w, h, _ = marks.boxes[row].T
    left, top, right, bottom = x.min(), y.min(), (x + w).max(), (y + h).max()
    x, y, w, h, _ = others.boxes.T
    middle = y + h // 2
    letters = (h >= 0.8 * (bottom - top)) & (h <= 3 * (bottom - top)) & (middle >= top) & (middle <= bottom)
    letters &= (x <= right) & (x + w >= left)
    letters &= (x > left) | (x + w < right) | (y > top) | (y + h < bottom)
    letters[0] = False
    x, y, w, h = x[letters], y[letters], w[letters], h[letters]
    if not len(x) or x.min() > left or y.min() > top or (x + w).max() < right or (y + h).max() < bottom:
        return False
    order = np.argsort(x)
    return count_letters(x[order], w[order], float(h.max())) < LEAST_LETTERS
