"""What a row of marks looks like: figures by which a line of text differs from beads, ticks and bone.

Lengths are in heights of the row's letters, contrasts in shares of the row's own, so that size, window
and inversion play no part.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from wristmir_ray.imaging import strokes as drawn
from wristmir_ray.imaging.marks import LEAST_CONTRAST, LEAST_LETTERS, Marks
from wristmir_ray.imaging.neighbours import count_letters, letters_around, whole_letters

_LEAST_LENGTH = 2.0
_MOST_EXTENT = 2.8
_WIDEST_GAP = 1.2
_LEAST_STROKES = 3
"""Met by most rows of pixels near the middle."""
_LINE_LENGTH, _LINE_WIDTH = 4.0, 0.3
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
    letters: float
    """Letters counted."""
    whole: float
    """Letters counted when pieces of one larger letter are one."""
    around: float
    """Letters of the other polarity that enclose the row."""
    length: float
    size: float
    """How often 8 px double to the letters' height."""
    pitch: float
    """Spread of the steps from mark to mark, over their mean: beads and staples keep step."""
    feet: float
    """Spread of the marks' lower ends about a line: letters stand on one."""
    heads: float
    """Spread of the marks' upper ends about a line."""
    tone: float
    """Spread of the marks' mean contrasts, over the contrast."""
    thickness: float
    """Mean width of the strokes."""
    holes: float
    """Enclosed pieces of ground, a letter."""
    upright: float
    """Share of the edges' energy that runs across the row; letters have most."""
    oblique: float
    """Share of the edges' energy that runs at neither right angle."""
    quiet: float
    """Edges above and below the row, over those within it: letters stand on even ground."""

    def as_array(self) -> np.ndarray:
        """Return the figures in their order, float64."""
        return np.array([getattr(self, f.name) for f in fields(self)])


@dataclass(frozen=True, slots=True)
class _Setting:
    """Where a row's marks stand; px."""

    numbers: np.ndarray
    x: np.ndarray
    y: np.ndarray
    w: np.ndarray
    h: np.ndarray
    area: np.ndarray
    box: tuple[int, int, int, int]
    height: float
    gap: float
    letters: float


def measure(marks: Marks, row: np.ndarray, others: Marks, large: np.ndarray) -> RowFigures | None:
    """Return the figures of a row; None where it is no line of letters at first sight.

    Args:
        marks: where the row is.
        row: numbers of its marks, from left to right.
        others: marks of the other polarity.
        large: int (n, 4), `glyphs` of the next coarser level.
    """
    s = _setting(marks, _without_lines(marks, row))
    if s is None:
        return None
    chosen = np.zeros(len(marks.boxes), np.bool_)
    chosen[s.numbers] = True
    labels = marks.labels[s.box[1] : s.box[3], s.box[0] : s.box[2]]
    ink = chosen[labels]
    met = (ink[:, 1:] & ~ink[:, :-1]).sum(axis=1) + ink[:, 0]
    strokes = float(np.percentile(met[int(0.15 * len(ink)) : max(int(0.85 * len(ink)), 1)], 70))
    if strokes < _LEAST_STROKES:
        return None
    contrast, sharpness, unevenness = _greys(marks, s.box, ink)
    upright, oblique = drawn.directions(marks, s.box)
    return RowFigures(
        **_placed(s),
        contrast=float(np.log2(contrast / LEAST_CONTRAST)),
        sharpness=sharpness,
        strokes=strokes * s.height / ink.shape[1],
        raggedness=float(met.std() / met.mean()),
        unevenness=unevenness,
        sameness=_sameness(ink, np.stack([s.x - s.box[0], s.y - s.box[1], s.w, s.h], 1).astype(np.int64)),
        repetition=_repetition(ink, s.height),
        whole=whole_letters(marks, s.numbers, large),
        around=letters_around(marks, s.numbers, others),
        tone=drawn.tone(marks.hat, s.box, labels, ink) / contrast,
        thickness=drawn.thickness(ink) / s.height,
        holes=drawn.holes(ink) / s.letters,
        upright=upright,
        oblique=oblique,
        quiet=drawn.quiet(marks.edge, s.box, s.height),
    )


def _setting(marks: Marks, row: np.ndarray) -> _Setting | None:
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
    letters = count_letters(x, w, height)
    return _Setting(row, x, y, w, h, area, box, height, gap, letters) if letters >= LEAST_LETTERS else None


def _placed(s: _Setting) -> dict[str, float]:
    """Return the figures that boxes tell."""
    middles, fills = s.x + s.w / 2, s.area / (s.w * s.h)
    return {
        "marks": float(len(s.numbers)),
        "gap": s.gap,
        "extent": (s.box[3] - s.box[1]) / s.height,
        "slant": min(_slant(middles, s.y), _slant(middles, s.y + s.h)),
        "fill": float(s.area.sum() / (s.w * s.h).sum()),
        "variety": float(np.sqrt((s.w / s.height).var() + (s.h / s.height).var() + fills.var())),
        "letters": s.letters,
        "length": (s.box[2] - s.box[0]) / s.height,
        "size": float(np.log2(s.height / 8)),
        "pitch": drawn.pitch(middles),
        "feet": drawn.ends(middles, s.y + s.h) / s.height,
        "heads": drawn.ends(middles, s.y) / s.height,
    }


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
