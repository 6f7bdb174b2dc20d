"""Crops and what they are held against become pictures of attention maps."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray.attention.config import MapConfig
from wristmir_ray.attention.maps import attention_map, direction
from wristmir_ray.attention.overlay import overlay, png_of
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging.crop import decode_png, resize
from wristmir_ray.models.encoder import ClipEncoder
from wristmir_ray.tables import Table, conform

STAGE = "attention"
ASKED = Table(
    "asked",
    ("exam_id",),
    pa.schema(
        [
            ("exam_id", pa.string()),
            ("png", pa.binary()),
            ("caption", pa.string()),
            ("against", pa.string()),
            ("other_png", pa.binary()),
        ]
    ),
)
"""What is asked, a row an exam: its crop; a caption, and one it is held against; or another exam's crop."""
DRAWN = Table(
    "drawn",
    ("exam_id",),
    pa.schema(
        [
            ("exam_id", pa.string()),
            ("crop", pa.binary()),
            ("before", pa.binary()),
            ("after", pa.binary()),
            *((n, pa.string()) for n in ("error", "error_stage", "error_message")),
        ]
    ),
)
"""What is drawn, PNG each; never published as a table."""

_UNREADABLE = Reject(ErrorCode.CORRUPT_IMAGE, "the stored crop is not a readable PNG")


class DrawMaps:
    """Holds one or two encoders.

    Columns: ASKED -> DRAWN. 1:1. Rejects: no_region (no crop), corrupt_image, stage_failed.

    Args:
        load: gives the encoder; of the run before the fine-tune too, where there is one.
        config: how a map is made.
        tile_px: side of a picture.
    """

    def __init__(self, load: Mapping[str, Callable[[], ClipEncoder]], config: MapConfig, tile_px: int) -> None:
        self._encoders = {name: give() for name, give in load.items()}
        self._config = config
        self._tile_px = tile_px

    def __call__(self, batch: pa.Table) -> pa.Table:
        return conform([self._drawn(row) for row in batch.to_pylist()], DRAWN)

    def _drawn(self, row: Mapping[str, Any]) -> dict[str, Any]:
        try:
            if row["png"] is None:
                raise Reject(ErrorCode.NO_REGION, "the exam has no crop of this region")
            gray = _decoded(row["png"])
            small = resize(gray, self._tile_px, self._tile_px)
            maps = {name: self._map(encoder, gray, row) for name, encoder in self._encoders.items()}
            pictures = {name: png_of(overlay(small, found)) for name, found in maps.items()}
        except Exception as e:
            return {"exam_id": row["exam_id"], **reject_columns(e, STAGE)}
        return {"exam_id": row["exam_id"], "crop": png_of(np.repeat(small[:, :, None], 3, 2)), **pictures}

    def _map(self, encoder: ClipEncoder, gray: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
        if row["other_png"] is not None:
            towards = encoder.encode_images([_decoded(row["other_png"])])[0]
        else:
            towards = direction(encoder, row["caption"], row["against"])
        c = self._config
        return attention_map(encoder, gray, towards, c.method, c.window, c.stride)


def _decoded(png: bytes) -> np.ndarray:
    try:
        return decode_png(png)
    except ValueError:
        raise _UNREADABLE from None


def against(caption: str, others: Mapping[str, int]) -> str | None:
    """Return which of the opposite finding's captions a caption is held against; None where there is none.

    The one that shares the longest beginning with it (the same side's), among those the most frequent.

    Args:
        caption: of the exam.
        others: caption of the opposite finding -> exams that have it.
    """

    def shared(other: str) -> int:
        return next((i for i, (a, b) in enumerate(zip(caption, other, strict=False)) if a != b), len(caption))

    known = [(shared(other.split(" showing ")[0]), count, other) for other, count in others.items() if other != caption]
    return max(known)[2] if known else None
