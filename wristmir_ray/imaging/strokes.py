"""How the marks of a row are drawn and set: further figures of `rows`, each a number of pixels or a share."""

import cv2
import numpy as np

from wristmir_ray.imaging.marks import Marks

Box = tuple[int, int, int, int]


def pitch(middles: np.ndarray) -> float:
    """Return the spread of the steps between marks side by side, over their mean; 1 for fewer than four marks."""
    if len(middles) < 4:
        return 1.0
    steps = np.diff(np.sort(middles))
    return float(steps.std() / max(steps.mean(), 1.0))


def ends(x: np.ndarray, y: np.ndarray) -> float:
    """Return the median distance, px, of points from a line through them; 0 for fewer than four."""
    if len(x) < 4:
        return 0.0
    from_middle = x - x.mean()
    rest = y - y.mean() - from_middle * (from_middle * y).sum() / max((from_middle**2).sum(), 1.0)
    return float(np.median(np.abs(rest - np.median(rest))))


def tone(hat: np.ndarray, box: Box, labels: np.ndarray, ink: np.ndarray) -> float:
    """Return the spread of the marks' mean contrasts, of 255.

    Args:
        hat: how far each pixel stands out.
        box: of the row.
        labels: the marks' numbers within the box.
        ink: where those of the row are.
    """
    _, numbers = np.unique(labels[ink], return_inverse=True)
    sums = np.bincount(numbers, hat[box[1] : box[3], box[0] : box[2]][ink])
    return float((sums / np.bincount(numbers)).std())


def thickness(ink: np.ndarray) -> float:
    """Return the mean width of strokes, px: twice the area over the outline's length."""
    mask = np.pad(ink, 1)
    outline = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
    return float(2 * ink.sum() / max(outline, 1)) * 1.2


def holes(ink: np.ndarray) -> float:
    """Return how many pieces of ground of four pixels or more the ink encloses."""
    ground = np.pad(~ink, 1, constant_values=True).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(ground, connectivity=4)
    return float((boxes[1:, cv2.CC_STAT_AREA] >= 4).sum() - 1)


def directions(marks: Marks, box: Box) -> tuple[float, float]:
    """Return the shares of the edges' energy that run across the row, and that run at neither right angle."""
    part = np.ascontiguousarray(marks.ink[box[1] : box[3], box[0] : box[2]])
    along = np.abs(cv2.Sobel(part, cv2.CV_32F, 1, 0))
    across = np.abs(cv2.Sobel(part, cv2.CV_32F, 0, 1))
    total = float((along + across).sum()) + 1.0
    return float(along.sum()) / total, 2 * float(np.minimum(along, across).sum()) / total


def quiet(edge: np.ndarray, box: Box, height: float) -> float:
    """Return the mean edge above and below a row, over that within it.

    Args:
        edge: range of grey about each pixel.
        box: of the row.
        height: of its letters, px.
    """
    x0, y0, x1, y1 = box
    reach = max(int(0.4 * height), 2)
    above, below = edge[max(y0 - 1 - reach, 0) : max(y0 - 1, 0), x0:x1], edge[y1 + 1 : y1 + 1 + reach, x0:x1]
    sides = [float(part.mean()) for part in (above, below) if part.size]
    return float(np.mean(sides)) / (float(edge[y0:y1, x0:x1].mean()) + 1.0) if sides else 0.0
