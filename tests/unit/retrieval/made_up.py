"""Small archives, made up: metadata and vectors with ties, missing regions and patients of several exams."""

import datetime
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, FractureType, Region
from wristmir_ray.retrieval.config import IndexConfig
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.writing import Making, Vectors, write_index

DIM = 96


def exams_of(numbers: np.ndarray, seed: int = 0) -> pa.Table:
    """Return metadata of exams by number; an exam's facts depend on its number and the seed alone."""
    rows = []
    for i in np.sort(numbers).tolist():
        rng = np.random.default_rng([seed, i])
        maybe = lambda value, rng=rng: value if rng.random() > 0.1 else None  # noqa: E731
        row = {"exam_id": f"{i:032x}", "patient_id": f"p{i // 3}", "view": "pa", "split": "test"}
        row |= {"laterality": maybe(["left", "right"][int(rng.integers(2))]), "age_years": maybe(rng.uniform(2, 17))}
        row |= {"sex": maybe(["female", "male", "other"][int(rng.integers(3))])}
        row |= {"study_date": maybe(datetime.date(2020, 1, 1) + datetime.timedelta(days=int(rng.integers(1000))))}
        for region in Region:
            kind = list(FractureType)[int(rng.integers(4))].value
            row[f"{region.value}_box"] = [1.0, 2.0, 3.0, 4.0]
            row |= {f"{region.value}_{c}": None for c in ("caption", "presence", "healing")}
            row[f"{region.value}_fracture_type"] = maybe(kind)
        rows.append(row)
    schema = pa.schema(
        [
            *((n, pa.string()) for n in ("exam_id", "patient_id", "view", "split", "laterality")),
            ("age_years", pa.float32()),
            ("sex", pa.string()),
            ("study_date", pa.date32()),
            *((f"{r.value}_box", pa.list_(pa.float32())) for r in Region),
            *((f"{r.value}_{c}", pa.string()) for r in Region for c in ("caption", "presence", "healing")),
            *((f"{r.value}_fracture_type", pa.string()) for r in Region),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


def vectors_of(numbers: np.ndarray, seed: int = 0) -> dict[Region, np.ndarray]:
    """Return vectors of exams by number: patients are alike, every seventh exam ties with the one before it."""
    out = {}
    for n, region in enumerate(Region):
        rows = []
        for i in np.sort(numbers).tolist():
            same = i - 1 if i % 7 == 6 else i
            rng = np.random.default_rng([seed, n, same])
            row = np.random.default_rng([n, same // 3]).normal(size=DIM) + rng.normal(size=DIM)
            row = row * np.arange(1, DIM + 1.0) ** -1.5
            lost = np.random.default_rng([seed, n, i, 1]).random() < 0.1
            rows.append(np.full(DIM, np.nan) if lost else row / np.linalg.norm(row))
        out[region] = np.asarray(rows, np.float32).reshape(-1, DIM)
    return out


def with_sources(exams: pa.Table) -> pa.Table:
    """Return exams as an index that does not store every region has them: sources, and no box of a bone."""
    for region in BONES:
        name = f"{region.value}_box"
        nowhere = pa.nulls(exams.num_rows, pa.list_(pa.float32()))
        exams = exams.set_column(exams.column_names.index(name), name, nowhere)
    uris = pc.binary_join_element_wise(exams["exam_id"], ".png", "")
    return exams.append_column("source_uri", uris).append_column("pixel_id", exams["exam_id"])


def publish(
    root: str,
    numbers: np.ndarray,
    config: IndexConfig,
    run_id: str = "i1",
    seed: int = 0,
    stored: Collection[Region] = tuple(Region),
) -> Index:
    """Publish an index of these exams as one segment, and open it."""
    folder = storage.run_uri(root, "index", run_id)
    made = Making("digest", config, {"encoder_digest": "digest", "captions": "c1"})
    exams, vectors = exams_of(numbers, seed), vectors_of(numbers, seed)
    if len(stored) < len(Region):
        exams, vectors = with_sources(exams), {r: v for r, v in vectors.items() if r in stored}
    files = write_index(folder, exams, vectors, made)
    settings = {"index": config.model_dump(mode="json")}
    manifest = storage.Manifest("index", run_id, "test", len(numbers), files=files, config=settings)
    storage.publish(root, manifest)
    return Index.load(root)


def queries(rng: np.random.Generator, index: Index) -> dict[Region, np.ndarray]:
    """Return a query of all regions."""
    rows = rng.normal(size=(len(Region), DIM)) * np.arange(1, DIM + 1.0) ** -1.5
    return {r: (v / np.linalg.norm(v)).astype(np.float32) for r, v in zip(Region, rows, strict=True)}


def stacked(*parts: Vectors) -> dict[Region, np.ndarray]:
    """Return vectors of several archives one after the other."""
    return {r: np.concatenate([p[r] for p in parts]) for r in Region}
