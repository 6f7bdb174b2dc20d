"""Pictures for the report, all as data URIs so that the page stands alone."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from wristmir_ray.anatomy import Box

COLOURS = {
    "wrist": (80, 200, 255),
    "distal_radius": (90, 220, 90),
    "distal_ulna": (255, 170, 60),
    "ulnar_styloid": (220, 90, 255),
}
"""Region -> BGR."""


def png_uri(png: bytes) -> str:
    """Return PNG bytes as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def with_boxes(gray: np.ndarray, boxes: Mapping[str, Box], height_px: int = 420) -> str:
    """Return a radiograph with its boxes drawn, scaled to `height_px`, as a JPEG data URI.

    Args:
        gray: (rows, cols) uint8.
        boxes: region -> box in pixels of `gray`.
    """
    scale = height_px / gray.shape[0]
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    for region, box in boxes.items():
        low = (round(box.x0_px * scale), round(box.y0_px * scale))
        high = (round(box.x1_px * scale), round(box.y1_px * scale))
        cv2.rectangle(canvas, low, high, COLOURS[region], 2)
    ok, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 80])
    assert ok
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def highlighted(text: str, evidence: Sequence[Mapping[str, Any]]) -> str:
    """Return a report as HTML in which every grounded quote is marked with the fields it supports."""
    spans = sorted({(e["start"], e["end"]) for e in evidence if e["start"] >= 0})
    fields = {s: sorted({e["field"] for e in evidence if (e["start"], e["end"]) == s}) for s in spans}
    out, at = [], 0
    for start, end in spans:
        if start < at:
            continue
        out += [html.escape(text[at:start])]
        title = html.escape(", ".join(fields[start, end]))
        out += [f'<mark title="{title}">{html.escape(text[start:end])}</mark>']
        at = end
    return "".join([*out, html.escape(text[at:])])
