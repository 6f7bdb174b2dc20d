"""A map laid over a radiograph, and sheets of such pictures (WristMIR Figs. 3 and 5)."""

from collections.abc import Sequence

import cv2
import numpy as np

STRONGEST = 0.6
"""Opacity of the map's largest value: the bone stays visible below it."""
HEADER_PX = 22


def overlay(gray: np.ndarray, map_HW: np.ndarray, strongest: float | None = None) -> np.ndarray:
    """Return uint8 (S, S, 3) RGB: the map's positive part in colour over the radiograph.

    Where the map is zero or negative the radiograph is untouched: no evidence, no colour.

    Args:
        gray: uint8 (S, S).
        map_HW: float (H, W) over the same square.
        strongest: the value drawn most strongly; default the map's own largest. Two maps are comparable in
            colour only where it is the same.

    Raises:
        ValueError: a map that is not finite.
    """
    if not np.isfinite(map_HW).all():
        raise ValueError("an attention map must be finite")
    side = gray.shape[1], gray.shape[0]
    top = float(map_HW.max()) if strongest is None else strongest
    wanted = np.clip(map_HW / top, 0, 1) if top > 0 else np.zeros_like(map_HW)
    strength = cv2.resize(np.asarray(wanted, np.float32), side, interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap(np.rint(255 * strength).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = (STRONGEST * strength)[:, :, None]
    return np.asarray(np.rint(gray[:, :, None] * (1 - opacity) + colour * opacity), np.uint8)


def sheet(rows: Sequence[Sequence[np.ndarray | None]], titles: Sequence[str], tile_px: int = 224) -> np.ndarray:
    """Return uint8 (H, W, 3) RGB: a row of pictures an exam under the columns' titles; None is an empty place.

    Args:
        rows: uint8 (S, S) or (S, S, 3) RGB each, as many a row as there are titles.
        titles: of the columns.
        tile_px: side of a picture.
    """
    width = tile_px * len(titles)
    header = np.zeros((HEADER_PX, width, 3), np.uint8)
    for i, title in enumerate(titles):
        cv2.putText(
            header, title, (i * tile_px + 4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA
        )
    return np.vstack([header, *(np.hstack([_tile(p, tile_px) for p in row]) for row in rows)])


def _tile(picture: np.ndarray | None, tile_px: int) -> np.ndarray:
    if picture is None:
        return np.zeros((tile_px, tile_px, 3), np.uint8)
    colour = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, 2)
    return np.asarray(cv2.resize(colour, (tile_px, tile_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def png_of(rgb: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB as PNG."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(rgb[:, :, ::-1]))[1])


def of_png(png: bytes) -> np.ndarray:
    """Return uint8 (H, W, 3) RGB of a PNG made by `png_of`; ValueError when it is none."""
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if bgr is None:
        raise ValueError("not a PNG")
    return np.asarray(bgr[:, :, ::-1], np.uint8)
