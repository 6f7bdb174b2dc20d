"""A contact sheet: a few exams with the boxes that were found and the crops that were cut."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import decode_png, resize, resize_longer_side, square_offset
from wristmir_ray.imaging.decode import decode
from wristmir_ray.schemas import CROPS, EXAMS, REGIONS

TILE_PX = 256
COLOURS: Mapping[str, tuple[int, int, int]] = {
    Region.WRIST: (80, 200, 255),
    Region.DISTAL_RADIUS: (90, 220, 90),
    Region.DISTAL_ULNA: (255, 170, 60),
    Region.ULNAR_STYLOID: (220, 90, 255),
}
"""Of a region's box and frame, BGR."""


def contact_sheet(root: str, run_id: str, exams_run: str, count: int, config: DecodeConfig) -> bytes:
    """Return a PNG: a row an exam, the radiograph with its boxes, then its four crops (black: not found).

    Args:
        root: folder or s3:// prefix.
        run_id: run of REGIONS and CROPS.
        exams_run: run of EXAMS they were made from.
        count: exams, the first in key order.
        config: decoding, as in the run.
    """
    regions, crops = storage.KeyedReader(root, REGIONS, run_id), storage.KeyedReader(root, CROPS, run_id)
    exams = storage.read_table(root, EXAMS, exams_run, columns=["exam_id", "source_uri"]).sort_by("exam_id")
    rows = []
    for exam in exams.slice(0, count).to_pylist():
        try:
            gray = decode(storage.read_bytes(exam["source_uri"]), config).gray
        except Exception:  # the exam's error stands in the tables
            gray = np.zeros((TILE_PX, TILE_PX), np.uint8)
        pngs = {c["region"]: c["png"] for c in crops.rows(exam["exam_id"])}
        tiles = [drawn(gray, regions.rows(exam["exam_id"])), *(_crop_tile(pngs.get(r), COLOURS[r]) for r in Region)]
        rows.append(np.hstack(tiles))
    sheet = np.vstack(rows) if rows else np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    return bytes(cv2.imencode(".png", sheet)[1])


def drawn(gray: np.ndarray, regions: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return uint8 (TILE_PX, TILE_PX, 3) BGR: the radiograph with its regions' boxes."""
    small = resize_longer_side(gray, TILE_PX)
    canvas = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    sx, sy = small.shape[1] / gray.shape[1], small.shape[0] / gray.shape[0]
    for r in regions:
        if r["x0_px"] is not None:
            low, high = (
                (round(r["x0_px"] * sx), round(r["y0_px"] * sy)),
                (round(r["x1_px"] * sx), round(r["y1_px"] * sy)),
            )
            cv2.rectangle(canvas, low, high, COLOURS[r["region"]], 1)
    return _framed(canvas)


def _crop_tile(png: bytes | None, colour: tuple[int, int, int]) -> np.ndarray:
    gray = np.zeros((1, 1), np.uint8) if png is None else decode_png(png)
    tile = cv2.cvtColor(resize(gray, TILE_PX - 4, TILE_PX - 4), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def _framed(canvas: np.ndarray) -> np.ndarray:
    rows, cols = canvas.shape[:2]
    top, left = square_offset(rows, cols)
    out = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    out[top : top + rows, left : left + cols] = canvas
    return out
