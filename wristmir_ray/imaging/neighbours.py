"""What a row of marks belongs to: pieces of larger letters, or the ground between letters of the other polarity."""

import numpy as np

from wristmir_ray.imaging.marks import Marks

_WIDEST_LETTER = 1.55
_LETTER_WIDTH = 0.75
"""Advance from letter to letter in heights of a capital, where letters touch."""
_SAME_LETTER = 0.35
"""Pieces that overlap by this share of the narrower one, seen along the row, are one letter."""
NONE_AROUND = 12.0
"""Letters around a row that none of the other polarity enclose."""


def count_letters(x: np.ndarray, w: np.ndarray, height: float) -> float:
    """Return how many letters marks side by side stand for: pieces above each other are one, touching ones several."""
    spans: list[list[float]] = []
    for start, width in zip(x.tolist(), w.tolist(), strict=True):
        end = start + width
        if spans and spans[-1][1] - start > _SAME_LETTER * min(width, spans[-1][1] - spans[-1][0]):
            spans[-1][1] = max(spans[-1][1], end)
        else:
            spans.append([start, end])
    lengths = np.array([b - a for a, b in spans]) / height
    return float(np.where(lengths > _WIDEST_LETTER, lengths / _LETTER_WIDTH, 1.0).sum())


def glyphs(marks: Marks) -> np.ndarray:
    """Return int (n, 4): x0, y0, x1, y1, in pixels of the next finer level, of marks like large letters."""
    x, y, w, h, area = marks.boxes.T
    longer = np.maximum(w, h)
    large = (longer >= 7) & (longer <= 40) & (area >= 15)
    large[0] = False
    return np.asarray(2 * np.stack([x, y, x + w, y + h], 1)[large])


def whole_letters(marks: Marks, row: np.ndarray, large: np.ndarray) -> float:
    """Return how many letters a row has when pieces of one large letter count once.

    Thick strokes are no marks, their ends and corners are: a marker's letters fall into pieces.

    Args:
        marks: where the row is.
        row: numbers of its marks, from left to right.
        large: int (n, 4), `glyphs` of the next coarser level.
    """
    x, y, w, h, _ = marks.boxes[row].T
    height = int(h.max())
    long, tall = (large[:, 2] - large[:, 0], large[:, 3] - large[:, 1])
    taller = large[(tall >= 1.4 * height) & (long <= 1.5 * tall)]
    if not len(taller) or len(row) < 2:
        return count_letters(x, w, height)
    column, middle = (x + w / 2)[:, None], (y + h / 2)[:, None]
    inside = (column > taller[:, 0]) & (column < taller[:, 2]) & (middle > taller[:, 1]) & (middle < taller[:, 3])
    inside &= inside.sum(axis=0) <= 5  # more is a line of text in a frame
    owned = inside.any(axis=1)
    owners = len(np.unique(inside[owned].argmax(axis=1)))
    return owners + (count_letters(x[~owned], w[~owned], height) if not owned.all() else 0.0)


def letters_around(marks: Marks, row: np.ndarray, others: Marks) -> float:
    """Return how many letters of the other polarity enclose a row: it is what shows between and within them.

    Letters reach beyond their counters and gaps on all sides; it is they that are counted. One mark that
    encloses the row is none of them: it is the label or the frame that the line stands in.

    Args:
        marks: where the row is.
        row: numbers of its marks, from left to right.
        others: marks of the other polarity.
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
        return NONE_AROUND
    order = np.argsort(x)
    return count_letters(x[order], w[order], float(h.max()))
