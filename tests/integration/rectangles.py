"""A little archive of rectangles: bright bones in a grey wrist, with true boxes. Enough to train on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wristmir_ray import storage
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.schemas import EXAMS
from wristmir_ray.tables import conform

PARTS = {
    "wrist": ((0.0, 0.0, 1.0, 1.0), 40),
    "distal_radius": ((0.1, 0.5, 0.5, 0.95), 90),
    "distal_ulna": ((0.6, 0.55, 0.85, 0.95), 80),
    "ulnar_styloid": ((0.78, 0.45, 0.9, 0.58), 110),
}
"""Region -> its box as shares of the wrist's sides, and how much brighter it is."""


def write_archive(root: Path, train: int, val: int) -> str:
    """Publish EXAMS below `root`; return the address of the boxes."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    boxes, exams = [], []
    for i in range(train + val):
        name = f"images/{i:06d}.png"
        gray, drawn = _draw(rng)
        (root / name).write_bytes(encode_png(gray))
        boxes += [{"file": name, **b} for b in drawn]
        split = "train" if i < train else "val"
        exams.append({"source_id": f"s{i:04d}", "exam_id": f"e{i:04d}", "source_uri": str(root / name), "split": split})
    pq.write_table(pa.Table.from_pylist(boxes), root / "boxes.parquet")
    folder = storage.run_uri(str(root), EXAMS.name, "x1")
    storage.write_parquet(conform(exams, EXAMS), storage.join(folder, "a.parquet"), 64)
    manifest = storage.Manifest(EXAMS.name, "x1", "ingest", schema=EXAMS.fingerprint, files=["a.parquet"])
    storage.publish(str(root), manifest)
    return str(root / "boxes.parquet")


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, object]]]:
    rows, cols = (int(v) for v in rng.integers((200, 150), (350, 250)))
    gray = rng.normal(20, 6, (rows, cols))
    size = np.array([cols, rows]) * 0.6 * rng.uniform(0.7, 1)
    corner = np.array([cols, rows]) * rng.uniform(0.45, 0.55, 2) - size / 2
    drawn: list[dict[str, object]] = []
    for region, (share, brighter) in PARTS.items():
        x0, y0, x1, y1 = np.tile(corner, 2) + np.array(share) * np.tile(size, 2)
        gray[int(y0) : int(y1), int(x0) : int(x1)] += brighter
        drawn.append({"region": region, "x0_px": x0, "y0_px": y0, "x1_px": x1, "y1_px": y1})
    return np.clip(gray, 0, 255).astype(np.uint8), drawn
