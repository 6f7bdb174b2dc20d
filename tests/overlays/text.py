"""Burns lines of text into 12-bit pixels, so that a person can read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tests.overlays import wording
from tests.overlays.fonts import Face
from wristmir_ray.phantom.render import FULL

MIN_CAP_PX, MAX_CAP_PX = 8, 44
"""Height of a capital letter. Below 8 px, worn by JPEG, nobody reads it."""

MIN_CONTRAST = 0.12
"""Least difference of text and what it lies on, share of full scale, for a person to read it; and five times the
noise."""

DEVELOPED_LAYOUTS = ("corner", "edge_up", "anywhere", "footer")
HELD_OUT_LAYOUTS = ("edge_down", "banner", "label", "corners", "middle")

_STYLES = {"bright": 0.44, "dimmed": 0.12, "dark": 0.12, "on_black": 0.12, "on_white": 0.1, "outlined": 0.1}
_TRIES = 30


@dataclass(frozen=True)
class Burned:
    """Pixels with text in them, and what it is."""

    pixels: np.ndarray
    """uint16 (rows, cols) of 12 bits."""
    boxes: tuple[tuple[int, int, int, int], ...]
    """(x0, y0, x1, y1) px of each block of lines."""
    face: str
    layout: str
    style: str
    cap_px: int
    contrast: float
    """Of text and what it lies on, share of full scale."""


def burn_in(pixels: np.ndarray, rng: np.random.Generator, faces: Mapping[str, Face], layouts: Sequence[str]) -> Burned:
    """Return a copy of the pixels with legible text in it.

    Args:
        pixels: uint16 (rows, cols) of 12 bits.
        rng: decides everything.
        faces: fonts to choose from.
        layouts: layouts to choose from.
    """
    for attempt in range(_TRIES):
        face = list(faces)[int(rng.integers(len(faces)))]
        layout = layouts[int(rng.integers(len(layouts)))]
        style = str(rng.choice(list(_STYLES), p=list(_STYLES.values()))) if attempt < _TRIES // 2 else "on_black"
        style = {"banner": "on_black", "label": "on_white"}.get(layout, style)
        cap_px = round(float(np.exp(rng.uniform(np.log(MIN_CAP_PX), np.log(MAX_CAP_PX)))))
        blocks = _blocks(pixels.shape, rng, faces[face], layout, cap_px)
        if blocks is None:
            continue
        out = pixels.copy()
        contrasts = [_draw(out, mask, at, style, cap_px, rng) for mask, at in blocks]
        if min(contrasts) > 0:
            boxes = tuple((x, y, x + m.shape[1], y + m.shape[0]) for m, (x, y) in blocks)
            return Burned(out, boxes, face, layout, style, cap_px, min(contrasts))
    raise AssertionError("no place for a legible line in thirty tries")


def _blocks(
    shape: tuple[int, ...], rng: np.random.Generator, face: Face, layout: str, cap_px: int
) -> list[tuple[np.ndarray, tuple[int, int]]] | None:
    """Return masks and their corners (x, y); None where one does not fit."""
    rows, cols = shape[0], shape[1]
    count = 4 if layout == "corners" else 1
    blocks = []
    for k in range(count):
        mask = block(wording.lines(rng, 1 if layout in {"edge_up", "edge_down", "banner"} else 4), face, cap_px)
        if layout in {"edge_up", "edge_down"}:
            mask = np.ascontiguousarray(np.rot90(mask, 1 if layout == "edge_up" else 3))
        h, w = mask.shape
        if layout == "banner":
            mask = _widened(mask, cols - 2 * 4)
            w = mask.shape[1]
        if h + 12 > rows // (2 if count > 1 else 1) or w + 8 > cols // (2 if count > 1 else 1):
            return None
        far_x, far_y = cols - w - 4, rows - h - 4
        m = int(rng.integers(4, 28))
        x, y = int(rng.integers(4, max(far_x, 5))), int(rng.integers(4, max(far_y, 5)))
        corner = k if count > 1 else int(rng.integers(4))
        near_x, near_y = (m, far_x + 4 - m)[corner % 2], (m, far_y + 4 - m)[corner // 2]
        place = {
            "corner": (near_x, near_y),
            "corners": (near_x, near_y),
            "edge_up": (near_x, y),
            "edge_down": (near_x, y),
            "footer": (x, far_y + 4 - m),
            "banner": (4, (4, far_y)[corner % 2]),
            "middle": (cols // 2 - w // 2, y),
        }.get(layout, (x, y))
        at = (int(np.clip(place[0], 4, max(far_x, 4))), int(np.clip(place[1], 4, max(far_y, 4))))
        blocks.append((mask, at))
    return blocks


def block(lines: Sequence[str], face: Face, cap_px: int) -> np.ndarray:
    """Return uint8 coverage of some lines, aligned left."""
    drawn = [face(line, cap_px) for line in lines]
    gap = max(round(0.55 * cap_px), 3)
    out = np.zeros((sum(d.shape[0] + gap for d in drawn) - gap, max(d.shape[1] for d in drawn)), np.uint8)
    y = 0
    for d in drawn:
        out[y : y + d.shape[0], : d.shape[1]] = d
        y += d.shape[0] + gap
    return out


def _widened(mask: np.ndarray, cols: int) -> np.ndarray:
    """Return the mask with empty columns at its right, up to the width of a banner."""
    return np.pad(mask, ((0, 0), (0, max(cols - mask.shape[1], 0))))


def _draw(
    out: np.ndarray, mask: np.ndarray, at: tuple[int, int], style: str, cap_px: int, rng: np.random.Generator
) -> float:
    """Draw a block into `out`; return its contrast, 0 where it cannot be read."""
    (x, y), (h, w) = at, mask.shape
    if rng.random() < 0.3:
        mask = np.where(mask > 127, 255, 0).astype(np.uint8)
    pad = round(rng.uniform(0.2, 0.6) * cap_px) + 2
    area = out[max(y - pad, 0) : y + h + pad, max(x - pad, 0) : x + w + pad]
    level = FULL
    match style:
        case "dimmed":
            level = round(FULL * rng.uniform(0.55, 0.9))
        case "dark":
            level = 0
        case "on_black":
            area[:] = 0
            level = round(FULL * rng.uniform(0.6, 1.0))
        case "on_white":
            area[:] = FULL
            level = round(FULL * rng.uniform(0.0, 0.3))
    under = out[y : y + h, x : x + w]
    if style == "outlined":
        under[cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 60] = 0
    ink = mask > 0.6 * mask.max()
    seen = _contrast(under, ink, level)
    share = mask.astype(np.float32) / 255
    under[:] = np.round(under * (1 - share) + level * share).astype(np.uint16)
    return seen


def _contrast(under: np.ndarray, ink: np.ndarray, level: int) -> float:
    """Return the contrast that four fifths of the ink have; 0 where a person could not read it."""
    smooth = cv2.blur(under, (5, 5)).astype(np.float32)
    noise = float(np.median(np.abs(under.astype(np.float32) - smooth)[ink])) * 1.5
    found = float(np.percentile(np.abs(level - smooth[ink]), 20))
    return found / FULL if found >= max(MIN_CONTRAST * FULL, 5 * noise) else 0.0
