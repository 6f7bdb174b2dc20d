"""Plane geometry of bone outlines. Points are (n, 2) float arrays of (x, y); any one unit."""

import math

import cv2
import numpy as np


def outline(rows: tuple[tuple[float, float, float], ...], step: float = 0.75) -> np.ndarray:
    """Return a closed polygon from rows of (y, left x, right x), y growing, smoothed between the rows."""
    y, left, right = np.array(rows, float).T
    fine = np.arange(y[0], y[-1] + step, step)
    width = max(1, int(4 / step))
    kernel = np.ones(2 * width + 1) / (2 * width + 1)
    sides = []
    for x in (left, right):
        dense = np.interp(fine, y, x)
        padded = np.concatenate([2 * dense[0] - dense[width:0:-1], dense, 2 * dense[-1] - dense[-2 : -width - 2 : -1]])
        sides.append(np.stack([np.convolve(padded, kernel, "valid"), fine], 1))
    return np.concatenate([sides[0], sides[1][::-1]])


def tube(axis: np.ndarray, half_widths: tuple[float, ...], steps: int = 28) -> np.ndarray:
    """Return a closed polygon around a polyline `axis`, whose half width runs through `half_widths`."""
    at = np.linspace(0, 1, steps)
    place = np.linspace(0, 1, len(axis))
    centre = np.stack([np.interp(at, place, axis[:, 0]), np.interp(at, place, axis[:, 1])], 1)
    along = np.gradient(centre, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    half = np.interp(at, np.linspace(0, 1, len(half_widths)), half_widths)[:, None]
    ends = np.sqrt(np.clip(1 - (np.abs(2 * at - 1) - 0.94).clip(0) ** 2 / 0.06**2, 0.2, 1))[:, None]
    return np.concatenate([centre + normal * half * ends, (centre - normal * half * ends)[::-1]])


def blob(x: float, y: float, rx: float, ry: float, tilt_deg: float, bumps: np.ndarray) -> np.ndarray:
    """Return a rounded polygon: an ellipse whose radius is modulated by `bumps` (low-order cosines)."""
    a = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    r = 1 + sum(b * np.cos((k + 2) * a + 1.7 * k) for k, b in enumerate(bumps))
    squarish = (np.abs(np.cos(a)) ** 2.6 + np.abs(np.sin(a)) ** 2.6) ** (-1 / 2.6)
    points = np.stack([rx * r * squarish * np.cos(a), ry * r * squarish * np.sin(a)], 1)
    return shift(turn(points, tilt_deg), x, y)


def turn(points: np.ndarray, angle_deg: float, about: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Return the points turned about a centre."""
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.asarray((points - about) @ np.array([[c, s], [-s, c]]) + about)


def shift(points: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """Return the points moved by (dx, dy)."""
    return np.asarray(points + np.array((dx, dy)))


def cut(polygon: np.ndarray, a: tuple[float, float], b: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the polygon's parts on the two sides of the line through a and b (left of a->b first).

    A part may be empty (0, 2). References: Sutherland and Hodgman 1974.
    """
    side = (b[0] - a[0]) * (polygon[:, 1] - a[1]) - (b[1] - a[1]) * (polygon[:, 0] - a[0])
    return _keep(polygon, side), _keep(polygon, -side)


def _keep(polygon: np.ndarray, side: np.ndarray) -> np.ndarray:
    out = []
    for i in range(len(polygon)):
        j = (i + 1) % len(polygon)
        if side[i] >= 0:
            out.append(polygon[i])
        if (side[i] >= 0) != (side[j] >= 0):
            t = side[i] / (side[i] - side[j])
            out.append(polygon[i] + t * (polygon[j] - polygon[i]))
    return np.array(out).reshape(-1, 2)


def span_at(polygon: np.ndarray, y: float) -> tuple[float, float]:
    """Return the smallest and largest x of the outline at height y; its extremes where y is beyond it."""
    nxt = np.roll(polygon, -1, axis=0)
    crosses = (polygon[:, 1] - y) * (nxt[:, 1] - y) <= 0
    a, b = polygon[crosses], nxt[crosses]
    if not len(a):
        return float(polygon[:, 0].min()), float(polygon[:, 0].max())
    rise = np.where(np.abs(b[:, 1] - a[:, 1]) < 1e-9, 1.0, b[:, 1] - a[:, 1])
    x = a[:, 0] + (b[:, 0] - a[:, 0]) * np.clip((y - a[:, 1]) / rise, 0, 1)
    return float(x.min()), float(x.max())


def dense(polygon: np.ndarray, steps: int = 6) -> np.ndarray:
    """Return the outline with `steps` points an edge."""
    at = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    return np.asarray(polygon * (1 - at) + np.roll(polygon, -1, axis=0) * at).transpose(1, 0, 2).reshape(-1, 2)


def outside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Return (n,): how far each point lies outside a polygon, negative inside."""
    contour = polygon.astype(np.float32)[:, None]
    return -np.array([cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x, y in points])


def wavy(polygon: np.ndarray, below: float, height: float) -> np.ndarray:
    """Return the outline with its end nearer than y = `below` bent into a slight wave, densely sampled."""
    first, last = polygon[0], polygon[-1]
    at = np.linspace(0, 1, 14)[1:-1, None]
    dense = np.concatenate([polygon, last * (1 - at) + first * at])
    x = dense[:, 0] - dense[:, 0].mean()
    end = dense[:, 1] < below
    dense[end, 1] += height * np.sin(0.62 * x[end] + 0.8)
    return np.asarray(dense)
