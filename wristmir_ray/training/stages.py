"""Crops become training pixels: decoded and resized once, since every epoch reads them again."""

import zlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, schemas, storage
from wristmir_ray.anatomy import Split
from wristmir_ray.errors import ErrorCode, Reject, reject_columns
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.models.encoder import resize_square
from wristmir_ray.tables import conform

CHECKSUM = "crc32"
_TRAINED_ON = pa.array([Split.TRAIN.value, Split.VAL.value])


def decode_pixels(batch: pa.Table, *, side_px: int) -> pa.Table:
    """Decode and resize the crops of training and validation patients; test patients' are left out.

    Columns: exam_id, region, png, split -> PIXELS. 1:1 for train and val rows, 1:0 for test rows.
    Rejects: corrupt_image.
    """
    rows = batch.filter(pc.is_in(batch["split"], value_set=_TRAINED_ON))
    pixels_BSS = np.zeros((rows.num_rows, side_px, side_px), np.uint8)
    errors: list[dict[str, str]] = []
    for i, png in enumerate(rows["png"].to_pylist()):
        errors.append({})
        try:
            pixels_BSS[i] = resize_square(_decode(png), side_px)
        except Exception as e:  # one bad row never stops a job
            errors[i] = reject_columns(e, "decode_pixels")
    table = schemas.pixels(side_px)
    kind = table.schema.field("pixels").type
    bad = pa.array([bool(e) for e in errors], pa.bool_())
    flat = pa.FixedSizeListArray.from_arrays(pa.array(pixels_BSS.reshape(-1)), type=kind.storage_type, mask=bad)
    columns = {
        "exam_id": rows["exam_id"],
        "region": rows["region"],
        "pixels": pa.ExtensionArray.from_storage(kind, flat),
        **{name: [e.get(name) for e in errors] for name in ("error", "error_stage", "error_message")},
    }
    return conform(columns, table)


def store_pixels(batch: pa.Table, *, side_px: int, folder: str) -> pa.Table:
    """Decode one batch and store its good rows as one Arrow file, named by its keys.

    Each row brings a checksum of its pixels, since the file lies on a disk as long as epochs are trained from it.

    Columns: exam_id, region, png, split -> file, rows, rejected (keys). 1:1 into a file; a retry writes the same file.
    """
    table = decode_pixels(batch, side_px=side_px)
    bad = table.filter(pc.is_valid(table["error"]))
    good = table.filter(pc.is_null(table["error"])).select(["exam_id", "region", "pixels"]).combine_chunks()
    name = ""
    if good.num_rows:
        name = keys.digest(*_pair_keys(good))
        name += ".arrow"
        good = good.append_column(CHECKSUM, checksums(good["pixels"].chunk(0).to_numpy_ndarray()))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, good.schema) as writer:
            writer.write_table(good)
        storage.write_bytes(storage.join(folder, name), sink.getvalue().to_pybytes())
    return pa.table(
        {
            "file": pa.array([name], pa.string()),
            "rows": pa.array([good.num_rows], pa.int64()),
            "rejected": pa.array([_pair_keys(bad)], pa.list_(pa.string())),
        }
    )


def checksums(pixels_BSS: Iterable[np.ndarray]) -> pa.Array:
    """Return the CRC-32 of each row's pixels."""
    return pa.array([zlib.crc32(row.tobytes()) for row in pixels_BSS], pa.uint32())


def _pair_keys(table: pa.Table) -> list[str]:
    return [f"{e}|{r}" for e, r in zip(*table.select(["exam_id", "region"]).to_pydict().values(), strict=True)]


def _decode(png: bytes | None) -> np.ndarray:
    try:
        return decode_png(png or b"")
    except ValueError:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the crop's PNG cannot be decoded") from None
