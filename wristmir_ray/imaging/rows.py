"""What a row of marks looks like: figures by which a line of text differs from beads, ticks and bone.

Lengths are in heights of the row's letters, contrasts in shares of the row's own, so that size, window
and inversion play no part.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from wristmir_ray.imaging.marks import LEAST_CONTRAST, LEAST_LETTERS, Marks

_LETTER_WIDTH = 0.75
"""Advance from letter to letter in heights of a capital, where letters touch."""
_WIDEST_LETTER = 1.55
_LEAST_LENGTH = 2.3
_MOST_EXTENT = 2.5
_WIDEST_GAP = 0.8
_LEAST_STROKES = 4
"""Met by most rows of pixels near the middle: one a letter, at least."""
_LINE_LENGTH, _LINE_WIDTH = 4.0, 0.3
_SAME_LETTER = 0.35
"""Pieces that overlap by this share of the narrower one, seen along the row, are one letter."""
_SHAPE_PX = 10
_SHAPES = 20


@dataclass(frozen=True, slots=True)
class RowFigures:
    """Figures of one row."""

    contrast: float
    """How often the least contrast of a mark doubles to theirs (0 to 4)."""
    sharpness: float
    """Step of grey at their edges, over the contrast."""
    strokes: float
    """Strokes met along the row, a height."""
    raggedness: float
    """Spread of the strokes met by one row of pixels and another, over their mean."""
    marks: float
    """Marks that stand apart."""
    gap: float
    """Median between neighbours; negative where they overlap."""
    extent: float
    """Height of the whole row: 1 for capitals alone, up to 1.5 with descenders; more where it slants."""
    slant: float
    unevenness: float
    """Spread of grey within the letters, over the contrast: burned-in letters have one value."""
    fill: float
    """Ink in the letters' boxes."""
    variety: float
    """Spread of the letters' widths, heights and fills."""
    sameness: float
    """Overlap of each letter's shape with the next one's: beads, ticks and staples are alike."""
    repetition: float
    """Largest correlation of the row, or of its upper or lower half, with itself moved along."""

    def as_array(self) -> np.ndarray:
        """Return the figures in their order, float64."""
        return np.array([getattr(self, f.name) for f in fields(self)])


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


def measure(marks: Marks, row: np.ndarray) -> RowFigures | None:
    """Return the figures of a row; None where it is no line of letters at first sight.

    Args:
        marks: where the row is.
        row: numbers of its marks, from left to right.
    """
    row = _without_lines(marks, row)
    if not len(row):
        return None
    x, y, w, h, area = marks.boxes[row].T.astype(np.float64)
    height = _letter_height(h)
    box = (int(x.min()), int(y.min()), int((x + w).max()), int((y + h).max()))
    length, extent = box[2] - box[0], box[3] - box[1]
    gaps = x[1:] - np.maximum.accumulate(x + w)[:-1]
    gap = float(np.median(gaps)) / height if len(gaps) else 0.0
    if extent > _MOST_EXTENT * height or length < _LEAST_LENGTH * extent or gap > _WIDEST_GAP:
        return None
    labels = marks.labels[box[1] : box[3], box[0] : box[2]]
    ink = np.isin(labels, row) if len(row) > 1 else labels == row[0]
    met = (ink[:, 1:] & ~ink[:, :-1]).sum(axis=1) + ink[:, 0]
    strokes = float(np.percentile(met[int(0.15 * extent) : max(int(0.85 * extent), 1)], 70))
    if strokes < _LEAST_STROKES or count_letters(x, w, height) < LEAST_LETTERS:
        return None
    contrast, sharpness, unevenness = _greys(marks, box, ink)
    return RowFigures(
        contrast=float(np.log2(contrast / LEAST_CONTRAST)),
        sharpness=sharpness,
        strokes=strokes * height / length,
        raggedness=float(met.std() / met.mean()),
        marks=float(len(row)),
        gap=gap,
        extent=extent / height,
        slant=min(_slant(x + w / 2, y), _slant(x + w / 2, y + h)),
        unevenness=unevenness,
        fill=float(area.sum() / (w * h).sum()),
        variety=float(np.sqrt((w / height).var() + (h / height).var() + (area / (w * h)).var())),
        sameness=_sameness(ink, np.stack([x - box[0], y - box[1], w, h], 1).astype(np.int64)),
        repetition=_repetition(ink, height),
    )


def _letter_height(h: np.ndarray) -> float:
    """Return the height of the tallest mark but one, of few marks of the tallest."""
    return float(h.max() if len(h) < 4 else np.partition(h, -2)[-2])


def _without_lines(marks: Marks, row: np.ndarray) -> np.ndarray:
    """Return the row without long thin marks: a border or a wire that letters stand on."""
    w, h, area = marks.boxes[row][:, 2:].T
    height = _letter_height(h)
    return np.asarray(row[(w < _LINE_LENGTH * height) | (area > _LINE_WIDTH * height * w)])


def _greys(marks: Marks, box: tuple[int, int, int, int], ink: np.ndarray) -> tuple[float, float, float]:
    """Return contrast (of 255), sharpness and unevenness."""
    mask = cv2.copyMakeBorder(ink.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8))[1:-1, 1:-1]
    hat, edge, grey = (image[box[1] : box[3], box[0] : box[2]] for image in (marks.hat, marks.edge, marks.ink))
    contrast = float(np.percentile(hat[ink], 80))
    low, high = np.percentile(grey[ink], (25, 75))
    return contrast, float(edge[ink & (inner == 0)].mean()) / contrast, float(high - low) / contrast


def _slant(x: np.ndarray, y: np.ndarray) -> float:
    """Return the size of the slope of a line through the points; 0 for fewer than four."""
    if len(x) < 4:
        return 0.0
    from_middle = x - x.mean()
    return float(abs((from_middle * y).sum()) / max((from_middle**2).sum(), 1.0))


def _sameness(ink: np.ndarray, boxes: np.ndarray) -> float:
    """Return the median overlap (intersection over union) of neighbours' shapes, each stretched to one square."""
    if len(boxes) < 4:
        return 0.4
    shapes = []
    for x, y, w, h in boxes[:_SHAPES].tolist():
        part = ink[y : y + h, x : x + w].astype(np.uint8) * 255
        shapes.append(cv2.resize(part, (_SHAPE_PX, _SHAPE_PX), interpolation=cv2.INTER_AREA) > 110)
    stack = np.stack(shapes).reshape(len(shapes), -1)
    both, either = (stack[1:] & stack[:-1]).sum(axis=1), (stack[1:] | stack[:-1]).sum(axis=1)
    return float(np.median(both / np.maximum(either, 1)))


def _repetition(ink: np.ndarray, height: float) -> float:
    half = max(len(ink) // 2, 1)
    image = ink.astype(np.float32)
    return max(_self_similarity(part, height) for part in (image, image[:half], image[-half:]))


def _self_similarity(part: np.ndarray, height: float) -> float:
    """Return the largest correlation with itself, moved along, behind the first fall.

    Moved by 0.2 to 2.5 heights and half the length at most; farther where it then repeats three times.
    """
    length = part.shape[1]
    first, last = max(int(0.2 * height), 2), int(min(0.55 * length, max(2.5 * height, length / 3)))
    if last <= first:
        return 0.0
    centred = part - part.mean(axis=1, keepdims=True)
    size = cv2.getOptimalDFTSize(length + last)
    spectrum = np.fft.rfft(centred, size, axis=1)
    products = np.fft.irfft((spectrum * spectrum.conj()).sum(axis=0), size)[first:last]
    power = np.concatenate([[0.0], np.cumsum((centred * centred).sum(axis=0))])
    moved = np.arange(first, last)
    scale = np.sqrt(np.maximum(power[length - moved] * (power[length] - power[moved]), 1e-6))
    correlation = products / scale
    fallen = np.flatnonzero(correlation < 0.3)
    return float(correlation[fallen[0] :].max()) if len(fallen) else 0.0
