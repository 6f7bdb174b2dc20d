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
from wristmir_ray.sources import read_source

TILE_PX = 256
COLOURS: Mapping[str, tuple[int, int, int]] = {
    Region.WRIST: (80, 200, 255),
    Region.DISTAL_RADIUS: (90, 220, 90),
    Region.DISTAL_ULNA: (255, 170, 60),
    Region.ULNAR_STYLOID: (220, 90, 255),
}
"""Of a region's box, frame and name, BGR."""
WHITE = (255, 255, 255)
LINE_PX = 20
"""Height of a line of text."""


def contact_sheet(root: str, run_id: str, exams_run: str, count: int, config: DecodeConfig) -> bytes:
    """Return a PNG: a row an exam, the radiograph with its boxes, then its four crops, each or its code.

    Above each row stands the exam's id, by which the tables have it.

    Args:
        root: folder or s3:// prefix.
        run_id: run of REGIONS and CROPS.
        exams_run: run of EXAMS they were made from.
        count: exams, the first in key order.
        config: decoding, as in the run.
    """
    regions, crops = storage.KeyedReader(root, REGIONS, run_id), storage.KeyedReader(root, CROPS, run_id)
    exams = storage.read_table(root, EXAMS, exams_run, columns=["exam_id", "source_uri", "pixel_id"])
    rows = [_titles()]
    for exam in exams.sort_by("exam_id").slice(0, count).to_pylist():
        of = {c["region"]: c for c in crops.rows(exam["exam_id"])}
        radiograph = drawn(_gray(exam, config), regions.rows(exam["exam_id"]))
        tiles = np.hstack([radiograph, *(_crop_tile(of.get(r, {}), COLOURS[r]) for r in Region)])
        rows += [_line(exam["exam_id"], tiles.shape[1]), tiles]
    return bytes(cv2.imencode(".png", np.vstack(rows))[1])


def _gray(exam: Mapping[str, Any], config: DecodeConfig) -> np.ndarray:
    try:
        return decode(read_source(exam["source_uri"]), config, exam["pixel_id"]).gray
    except Exception:  # the exam's code stands in its crops' tiles
        return np.zeros((TILE_PX, TILE_PX), np.uint8)


def _titles() -> np.ndarray:
    """Return the head of the columns, each region's in the colour of its boxes."""
    of_regions = [_line(r.words, TILE_PX, COLOURS[r]) for r in Region]
    return np.hstack([_line("radiograph", TILE_PX), *of_regions])


def _line(text: str, width_px: int, colour: tuple[int, int, int] = WHITE) -> np.ndarray:
    """Return uint8 (LINE_PX, width_px, 3): a line of text."""
    return _written(np.zeros((LINE_PX, width_px, 3), np.uint8), text, colour)


def _written(canvas: np.ndarray, text: str, colour: tuple[int, int, int]) -> np.ndarray:
    """Return the canvas with a line of text at its top."""
    at = (4, LINE_PX - 6)
    return np.asarray(cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA))


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


def _crop_tile(crop: Mapping[str, Any], colour: tuple[int, int, int]) -> np.ndarray:
    """Return the crop framed in its region's colour, or the code that stands in its place."""
    png = crop.get("png")
    gray = np.zeros((1, 1), np.uint8) if png is None else decode_png(png)
    tile = cv2.cvtColor(resize(gray, TILE_PX - 4, TILE_PX - 4), cv2.COLOR_GRAY2BGR)
    if png is None:
        _written(tile, crop.get("error") or "", colour)
    return np.asarray(cv2.copyMakeBorder(tile, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=colour), np.uint8)


def _framed(canvas: np.ndarray) -> np.ndarray:
    rows, cols = canvas.shape[:2]
    top, left = square_offset(rows, cols)
    out = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    out[top : top + rows, left : left + cols] = canvas
    return out
