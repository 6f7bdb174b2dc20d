"""Small sharp marks in a radiograph, brighter or darker than what is around them, and rows of such marks.

A mark is what an opening (or closing) with a small square removes: a stroke of a letter, but also a
tick, a bead, a trabecula. A row is marks side by side at one height, as the letters of a line are.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SMALLEST_PX = 4
"""Height of a mark: a small letter between capitals of 7 px."""
_STROKE_PX = 7
"""Side of the square: narrower strokes are marks. Letters of up to 30 px have no wider ones, bold or not."""
_NEAR_PX, _SHARE = 17, 0.4
"""A mark ends at this share of the contrast found so near: blurred letters part, noise beside them vanishes."""
LEAST_CONTRAST = 16
"""Of 255: below it is noise, and text that one has to search for."""
_LEAST_AREA_PX = 6
_REACH = 0.62
"""How far a mark reaches for the next one, share of its height: over a hyphen or a space, not much farther."""
_LONGEST = 14
"""Width of a mark in heights: a word whose letters touch; longer ones are wires and borders."""
_SHORT = 0xFFFF
"""So many labels fit into 16 bits, which takes a third of the time."""
_NARROW = 0.5
"""A letter's width in heights, at least, where letters touch: a first count must not miss any."""
LEAST_LETTERS = 4.4
"""Letters of a line, counted with a tolerance: five. A side's letter with up to three initials is a marker."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks of one polarity."""

    ink: np.ndarray
    """uint8 (H, W): grey in which the marks are bright."""
    hat: np.ndarray
    """uint8 (H, W): how far each pixel stands out."""
    edge: np.ndarray
    """uint8 (H, W): range of grey within a pixel's neighbours."""
    labels: np.ndarray
    """(H, W): 0, or the mark's number."""
    boxes: np.ndarray
    """int (n, 5): x, y, width, height, area in px. Row 0 is the ground."""

    def turned(self) -> "Marks":
        """Return the same marks with rows and columns exchanged (views)."""
        return Marks(self.ink.T, self.hat.T, self.edge.T, self.labels.T, self.boxes[:, [1, 0, 3, 2, 4]])


def as_levels(stored: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W) of stored pixels, stretched to the range they use.

    Half of that range is added at both ends, as far as there are values: text of an extreme value
    stays apart from bone and air, and one hot pixel does not squeeze the rest.

    Args:
        stored: (H, W) of 8 or 16 bits, signed or not, not all equal.
    """
    low, high = (float(v) for v in np.percentile(stored[::4, ::4], (0.5, 99.5)))
    least, most, _, _ = cv2.minMaxLoc(stored)
    spare = (high - low) / 2
    low, high = (max(least, low - spare), min(most, high + spare)) if spare else (least, most)
    scale = 255.0 / max(high - low, 1.0)
    return np.asarray(cv2.addWeighted(stored, scale, stored, 0.0, -low * scale, dtype=cv2.CV_8U))


def edges(levels: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W): the range of grey in each pixel's 3 x 3 neighbours."""
    return np.asarray(cv2.morphologyEx(levels, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))


def find_marks(levels: np.ndarray, edge: np.ndarray, dark: bool) -> Marks:
    """Return the marks that are brighter, or darker, than what is around them.

    Args:
        levels: uint8 (H, W).
        edge: its `edges`.
        dark: look for dark ones.
    """
    ink = cv2.bitwise_not(levels) if dark else levels
    hat = cv2.morphologyEx(ink, cv2.MORPH_TOPHAT, np.ones((_STROKE_PX, _STROKE_PX), np.uint8))
    half = cv2.convertScaleAbs(cv2.dilate(hat, np.ones((_NEAR_PX, _NEAR_PX), np.uint8)), alpha=_SHARE)
    stands_out = cv2.compare(hat, cv2.max(half, float(LEAST_CONTRAST)), cv2.CMP_GT)
    kind = cv2.CV_16U if cv2.countNonZero(stands_out) < _SHORT else cv2.CV_32S
    _, labels, boxes, _ = cv2.connectedComponentsWithStatsWithAlgorithm(stands_out, 8, kind, cv2.CCL_BOLELLI)
    return Marks(ink, hat, edge, labels, boxes)


def find_rows(marks: Marks, smallest_px: int, tallest_px: int) -> list[np.ndarray]:
    """Return rows of marks, long enough to be of five letters, as arrays of their numbers from left to right.

    Args:
        marks: of one level and polarity; of its turned view for columns.
        smallest_px: least height of a row's tallest mark.
        tallest_px: largest height of a mark.
    """
    x, y, w, h, area = marks.boxes.T
    small = (h >= SMALLEST_PX) & (h <= tallest_px) & (w <= _LONGEST * h) & (area >= _LEAST_AREA_PX)
    small[0] = False
    chosen = np.flatnonzero(small)
    if not len(chosen):
        return []
    x, y, w, h = x[chosen], y[chosen], w[chosen], h[chosen]
    row = _side_by_side(x, y, w, h, marks.labels.shape)
    order = np.lexsort((x, row))
    starts = np.flatnonzero(np.diff(row[order], prepend=-1))
    tallest = np.maximum.reduceat(h[order], starts)
    heights = np.repeat(tallest, np.diff([*starts, len(order)]))
    letters = np.add.reduceat(np.maximum(w[order] / (_NARROW * heights), 1), starts)
    parts = np.split(chosen[order], starts[1:])
    return [parts[i] for i in np.flatnonzero((letters >= LEAST_LETTERS) & (tallest >= smallest_px))]


def _side_by_side(x: np.ndarray, y: np.ndarray, w: np.ndarray, h: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return (n,) numbers of the rows that marks belong to: their middles, drawn longer, touch."""
    bands = np.zeros((shape[0] // 2 + 1, shape[1] // 2 + 1), np.uint8)  # half the size takes a quarter of the time
    reach = np.maximum((_REACH * h).astype(np.int64), SMALLEST_PX)
    top = (y + h // 4) // 2
    corners = np.stack(
        [np.maximum(x - reach, 0) // 2, (x + w + reach) // 2, top, np.maximum((y + h - h // 4) // 2, top + 1)], 1
    )
    for x0, x1, y0, y1 in corners.tolist():
        bands[y0:y1, x0:x1] = 1
    kind = cv2.CV_16U if len(x) < _SHORT else cv2.CV_32S
    _, rows = cv2.connectedComponents(bands, connectivity=4, ltype=kind)
    return np.asarray(rows[top, (x + w // 2) // 2], np.int64)
