"""Stand-ins for the model seams, and a small published archive made without them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Region
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.imaging.decode import Radiograph, decode
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS
from wristmir_ray.tables import Table, conform

DIM = 8


@dataclass
class FakeEncoder:
    """Embeds a crop as the unit vector of its first DIM pixels, a text as that of its characters."""

    digest: str = "fake-encoder"
    dim: int = DIM
    image_size: int = 8

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([_unit(i.reshape(-1)[:DIM]) for i in images])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([_unit(np.resize(np.frombuffer(t.encode(), np.uint8), DIM)) for t in texts])


def _unit(values: np.ndarray) -> np.ndarray:
    shifted = values.astype(np.float32) - 127.0
    return np.asarray(shifted / (np.linalg.norm(shifted) + 1e-6), np.float32)


def fake_encoder(root: str, run_id: str | None = None) -> FakeEncoder:
    """Load the fake; a module-level function, so that workers can unpickle it."""
    return FakeEncoder()


def counting_decode(data: bytes, config: DecodeConfig, *, log: str, seconds: float = 0.0) -> Radiograph:
    """Decode as ever, and leave one line in `log` a call (workers are other processes)."""
    with Path(log).open("a") as f:
        f.write(f"{keys.digest(data)}\n")
    time.sleep(seconds)
    return decode(data, config)


def publish(root: str, table: Table, rows: pa.Table, run_id: str = "r1", models: dict[str, str] | None = None) -> None:
    """Publish rows as a table's run."""
    rows = rows.sort_by([(k, "ascending") for k in table.key])
    storage.write_parquet(rows, storage.join(storage.run_uri(root, table.name, run_id), "a.parquet"), 16)
    storage.publish(
        root,
        storage.Manifest(
            table.name,
            run_id,
            "test",
            rows.num_rows,
            schema=table.fingerprint,
            files=["a.parquet"],
            models=models or {},
        ),
    )


def publish_archive(root: str, exams: int = 60, seed: int = 0, missing: Region = Region.ULNAR_STYLOID) -> list[str]:
    """Publish EXAMS, REGIONS, CROPS, CAPTIONS and an `encoder` of random exams; every seventh lacks `missing`.

    Returns:
        The exam ids, sorted.
    """
    rng = np.random.default_rng(seed)
    ids = sorted(keys.digest(str(seed), str(i)) for i in range(exams))
    patients = [keys.digest("patient", str(i // 2)) for i in range(exams)]
    splits = [keys.split_of(p, 0.1, 0.5).value for p in patients]
    sides = rng.choice(["left", "right"], exams)
    table = {
        "source_id": ids,
        "exam_id": ids,
        "patient_id": patients,
        "laterality": sides,
        "view": ["pa"] * exams,
        "age_years": rng.uniform(2, 17, exams).astype(np.float32),
        "sex": rng.choice(["female", "male"], exams),
        "split": splits,
        "source_uri": [f"{i}.png" for i in ids],
    }
    publish(root, EXAMS, conform(table, EXAMS))
    crops, regions, captions = [], [], []
    for n, (exam, split) in enumerate(zip(ids, splits, strict=True)):
        for region in Region:
            lost = region is missing and n % 7 == 0
            key = {"exam_id": exam, "region": region.value}
            present = rng.random() < 0.4
            error = {"error": "no_region", "error_stage": "preprocess", "error_message": "none"} if lost else {}
            box = {} if lost else {"x0_px": 1.0, "y0_px": 2.0, "x1_px": 30.0, "y1_px": 40.0, "score": 0.9}
            png = None if lost else encode_png(rng.integers(0, 255, (8, 8), np.uint8))
            crops.append({**key, "png": png, "rows": 8, "cols": 8, "split": split, **error})
            regions.append({**key, **box, **error})
            caption = f"{region.words} region showing {'a' if present else 'no'} fracture"
            label = {"presence": "present" if present else "absent", "fracture_type": "buckle" if present else None}
            captions.append({**key, "caption": caption, "split": split, **label})
    publish(root, CROPS, conform(crops, CROPS))
    publish(root, REGIONS, conform(regions, REGIONS))
    publish(root, CAPTIONS, conform(captions, CAPTIONS))
    storage.publish(root, storage.Manifest("encoder", "e1", "test"))
    return ids
