"""Published tables put together for an index: one row of metadata an exam, one matrix of vectors a region."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError
from wristmir_ray.retrieval.unstored import SOURCE_COLUMNS
from wristmir_ray.schemas import CAPTIONS, EXAMS, REGIONS
from wristmir_ray.tables import vectors


def metadata_of(root: str, runs: dict[str, str], rows: pa.Table, stored: list[Region]) -> pa.Table:
    """Return one row an embedded exam: EXAMS' columns, and by region box, caption and labels.

    Where regions are not stored, whoever computes them needs the source, too.
    """
    known = pc.unique(rows["exam_id"])
    if not len(known):
        raise ConfigError("no crop was embedded: there is nothing to index; look at the rejects of preprocess")
    wanted = ["exam_id", "patient_id", "laterality", "view", "age_years", "sex", "study_date", "split"]
    wanted += SOURCE_COLUMNS if len(stored) < len(Region) else []
    exams = storage.read_table(root, EXAMS, runs[EXAMS.name], wanted)
    exams = exams.filter(pc.is_in(exams["exam_id"], value_set=known)).sort_by("exam_id")
    if not exams.num_rows:
        raise ConfigError("none of the embedded exams is among the ingested ones; run preprocess and build_index again")
    ids = exams["exam_id"].combine_chunks()
    boxes = storage.read_table(root, REGIONS, runs[REGIONS.name])
    corners = pa.array(
        np.stack([boxes[c].to_numpy() for c in ("x0_px", "y0_px", "x1_px", "y1_px")], 1).tolist(),
        pa.list_(pa.float32()),
    )
    boxes = boxes.append_column("box", corners)
    labels = (
        storage.read_table(root, CAPTIONS, runs[CAPTIONS.name])
        if CAPTIONS.name in runs
        else CAPTIONS.schema.empty_table()
    )
    for region in Region:
        found = boxes if region in stored else boxes.slice(0, 0)
        exams = exams.append_column(f"{region.value}_box", _aligned(found, region, ids, "box"))
        for column in ("caption", "presence", "fracture_type", "healing"):
            exams = exams.append_column(f"{region.value}_{column}", _aligned(labels, region, ids, column))
    return exams


def _aligned(table: pa.Table, region: Region, ids: pa.Array, column: str) -> Any:
    """Return one region's column in the order of `ids`, null where it has no row."""
    part = table.filter(pc.field("region") == region.value)
    at = pc.index_in(ids, value_set=part["exam_id"].combine_chunks())
    return part[column].combine_chunks().take(at)


def dense(rows: pa.Table, region: Region, ids: pa.ChunkedArray, dim: int) -> np.ndarray:
    """Return (N, D) float32 in the order of `ids`; NaN rows where the region was not found.

    An exam that has left the archive since it was embedded has no place in `ids`, and is left out.
    """
    part = rows.filter(pc.field("region") == region.value)
    at = pc.index_in(part["exam_id"].combine_chunks(), value_set=ids.combine_chunks())
    known = pc.is_valid(at)
    out = np.full((len(ids), dim), np.nan, np.float32)
    out[at.drop_null().to_numpy().astype(int)] = vectors(part["embedding"].filter(known))
    return out
