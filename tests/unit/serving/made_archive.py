"""An archive of six exams under a root: made-up vectors and crops, and the runs that they name. No models."""

from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.writing import Making, write_index
from wristmir_ray.schemas import CROPS
from wristmir_ray.tables import conform

EXAMS = [f"{i:032x}" for i in range(6)]
DIM = 4
BARE = EXAMS[5]
"""An exam in which no bone was found."""


def publish(root: str, name: str, run_id: str = "r1", **more: Any) -> None:
    storage.publish(root, storage.Manifest(name, run_id, "test", **more))


def publish_index(root: str, run_id: str = "r1", crops: str = "r1", digest: str = "e") -> None:
    random = np.random.default_rng(0)
    vectors = {}
    for region in Region:
        rows = random.normal(size=(len(EXAMS), DIM)).astype(np.float32)
        vectors[region] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        if region is not Region.WRIST:
            vectors[region][5] = np.nan
    rows = [_metadata(i, e) for i, e in enumerate(EXAMS)]
    files = write_index(storage.run_uri(root, "index", run_id), pa.Table.from_pylist(rows), vectors, Making(digest))
    models = {"encoder": "r1", "roi_detector": "r1", "bone_detector": "r1"}
    publish(root, "index", run_id, files=files, inputs={"crops": crops}, models=models, metrics={"digest": digest})


def _metadata(i: int, exam_id: str) -> dict[str, Any]:
    row: dict[str, Any] = {"exam_id": exam_id, "patient_id": f"p{i // 2}", "laterality": ["left", "right"][i % 2]}
    row |= {"view": "pa", "age_years": 5.0 + i - 1e-6, "sex": "female", "study_date": None, "split": "test"}
    for region in Region:
        lacks = exam_id == BARE and region is not Region.WRIST
        row[f"{region.value}_box"] = None if lacks else [0.0, 1.0, 10.0, 11.0]
        row |= {f"{region.value}_caption": f"{region.words} {i}", f"{region.value}_presence": "present"}
        row |= {f"{region.value}_fracture_type": "buckle", f"{region.value}_healing": None}
    return row


def publish_crops(root: str, run_id: str = "r1", margin: float = 0.1) -> None:
    rows = []
    for exam_id in EXAMS:
        for region in Region:
            lacks = exam_id == BARE and region is not Region.WRIST
            rows.append({"exam_id": exam_id, "region": region, "png": None if lacks else f"{exam_id}{region}".encode()})
            rows[-1] |= {"error": "no_region" if lacks else None}
    table = conform(rows, CROPS)
    storage.write_parquet(table, storage.join(storage.run_uri(root, "crops", run_id), "0.parquet"), 4)
    config = {"detectors": None, "decode": {}, "regions": {"roi_margin": margin}}
    publish(root, "crops", run_id, schema=CROPS.fingerprint, files=["0.parquet"], config=config)


def publish_archive(root: str) -> None:
    """Publish all that a service needs, each as run r1."""
    publish(root, "encoder", metrics={"digest": "e"})
    for name in ("roi_detector", "bone_detector"):
        publish(root, name)
    publish_crops(root)
    publish_index(root)
