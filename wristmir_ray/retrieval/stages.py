"""Crops to embeddings."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.models.encoder import Encoder
from wristmir_ray.schemas import embeddings
from wristmir_ray.tables import Table, conform

STAGE = "embed"
_UNREADABLE = Reject(ErrorCode.CORRUPT_IMAGE, "the stored crop is not a readable PNG")
_NOT_FINITE = Reject(ErrorCode.STAGE_FAILED, "the encoder gave a vector that is not finite")


def keyed_embeddings(dim: int) -> Table:
    """Return the fragment table: EMBEDDINGS with one key column, by which a resume finds what is done."""
    table = embeddings(dim)
    return Table("keyed_embeddings", ("crop_id",), table.schema.insert(0, pa.field("crop_id", pa.string())))


def add_crop_id(batch: pa.Table) -> pa.Table:
    """Name each crop by exam and region. Columns: exam_id, region, ... -> crop_id and the same. 1:1."""
    ids = pc.binary_join_element_wise(batch["exam_id"], batch["region"], ":")
    return batch.add_column(0, "crop_id", ids)


def drop_crop_id(batch: pa.Table) -> pa.Table:
    """Columns: crop_id and EMBEDDINGS' -> EMBEDDINGS'. 1:1."""
    return batch.drop_columns(["crop_id"])


class EmbedCrops:
    """Holds the encoder.

    Columns: crop_id, exam_id, region, png, split -> EMBEDDINGS and crop_id. 1:1.
    Rejects: corrupt_image, stage_failed (an embedding that is not finite).
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._encoder = load()

    def __call__(self, batch: pa.Table) -> pa.Table:
        images = [_decoded(p) for p in batch["png"].to_pylist()]
        good = [i for i, image in enumerate(images) if image is not None]
        vectors: list[np.ndarray | None] = [None] * len(images)
        errors = [None if image is not None else _UNREADABLE for image in images]
        if good:
            encoded = self._encoder.encode_images([image for image in images if image is not None])
            for i, vector in zip(good, encoded, strict=True):
                finite = bool(np.isfinite(vector).all())
                vectors[i], errors[i] = (vector, None) if finite else (None, _NOT_FINITE)
        columns = {n: batch[n] for n in ("crop_id", "exam_id", "region", "split")}
        stored = [{} if e is None else reject_columns(e, STAGE) for e in errors]
        return conform(
            {
                **columns,
                "embedding": vectors,
                "encoder_digest": [self._encoder.digest] * len(images),
                **{n: [s.get(n) for s in stored] for n in ("error", "error_stage", "error_message")},
            },
            keyed_embeddings(self._encoder.dim),
        )


def _decoded(png: bytes) -> np.ndarray | None:
    try:
        return decode_png(png)
    except Exception:
        return None
