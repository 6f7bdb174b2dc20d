"""Pictures that are no upright wrist, made of phantoms, through the demo's detectors: how many get a code.

Phantoms as they are, turned by 180 degrees, two side by side, the hand above the wrist alone, the shaft
below it alone. `ours` is the share of turned ones that are found; `false_share` is that of ordinary ones
that get any code. There is no peer.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.trained import detectors

PHANTOMS, PAIRS = 400, 150
LEAST_PX = 60
"""Rows of a hand or a shaft that is a picture at all."""


def measure() -> dict[str, Any]:
    """Return the share found of each kind."""
    from wristmir_ray.errors import ErrorCode
    from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, load_detector
    from wristmir_ray.models.networks import RuntimeConfig
    from wristmir_ray.preprocess.config import RegionConfig
    from wristmir_ray.preprocess.regions import extract_regions

    with tempfile.TemporaryDirectory() as folder:
        demo = detectors(folder)
        roi, bones = (load_detector(demo.archive, n, runtime=RuntimeConfig()) for n in (ROI_DETECTOR, BONE_DETECTOR))
        grays, wrists = _phantoms(demo)

    def codes(images: Iterable[np.ndarray]) -> Counter[Any]:
        return Counter(extract_regions(gray, roi, bones, RegionConfig())[0].error for gray in images)

    plain = codes(grays)
    turned = codes(np.ascontiguousarray(gray[::-1, ::-1]) for gray in grays)
    pairs = codes(_pair(a, b) for a, b in zip(grays[:PAIRS], grays[PAIRS : 2 * PAIRS], strict=True))
    both = list(zip(grays, wrists, strict=True))
    hands = codes(gray[: int(y0)] for gray, (y0, _) in both if y0 >= LEAST_PX)
    shafts = codes(gray[int(y1) :] for gray, (_, y1) in both if len(gray) - y1 >= LEAST_PX)
    share = round(turned[ErrorCode.UPSIDE_DOWN] / turned.total(), 4)
    return {
        "ours": share,
        "peer": None,
        "ratio": None,
        "unit": "share found",
        "upside_down": share,
        "two_wrists": round(pairs[ErrorCode.TWO_WRISTS] / pairs.total(), 4),
        "other_part": round(1 - (hands[None] + shafts[None]) / (hands.total() + shafts.total()), 4),
        "false_share": round(1 - plain[None] / plain.total(), 4),
        "images": {"phantoms": len(grays), "pairs": PAIRS, "hands": hands.total(), "shafts": shafts.total()},
    }


def _phantoms(demo: Any) -> tuple[list[np.ndarray], list[tuple[float, float]]]:
    """Return decoded phantoms, and the upper and lower edge of each one's wrist."""
    import pyarrow.parquet as pq

    from wristmir_ray import storage
    from wristmir_ray.imaging.config import DecodeConfig
    from wristmir_ray.imaging.decode import decode
    from wristmir_ray.schemas import EXAMS

    edges = {
        Path(r["file"]).name: (r["y0_px"], r["y1_px"])
        for r in pq.read_table(f"{demo.phantoms}/boxes.parquet").to_pylist()
        if r["region"] == "wrist"
    }
    uris = storage.read_table(demo.archive, EXAMS, columns=["source_uri"])["source_uri"].to_pylist()
    known = [u for u in uris if Path(u).name in edges][:PHANTOMS]
    return [decode(storage.read_bytes(u), DecodeConfig()).gray for u in known], [edges[Path(u).name] for u in known]


def _pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    import cv2

    rows = left.shape[0]
    return np.hstack([left, cv2.resize(right, (max(1, right.shape[1] * rows // right.shape[0]), rows))])
