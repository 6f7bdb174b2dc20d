"""Embedding crops: one row out per row in, whatever happens to one."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tests.fakes import DIM, FakeEncoder
from wristmir_ray.anatomy import Region
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.retrieval.assembled import dense
from wristmir_ray.retrieval.stages import EmbedCrops, add_crop_id, drop_crop_id, keyed_embeddings
from wristmir_ray.schemas import embeddings
from wristmir_ray.tables import conform, vectors


class Overflowing(FakeEncoder):
    """Gives NaN for an image that is black."""

    def encode_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        out = super().encode_images(images)
        out[[not image.any() for image in images]] = np.nan
        return out


def _batch() -> pa.Table:
    rng = np.random.default_rng(0)
    pngs = [encode_png(rng.integers(1, 255, (8, 8), np.uint8)) for _ in range(4)]
    pngs[1] = pngs[1][:20]
    pngs[2] = encode_png(np.zeros((8, 8), np.uint8))
    rows = {"exam_id": ["a", "a", "b", "b"], "region": ["wrist", "distal_ulna"] * 2, "png": pngs, "split": ["test"] * 4}
    return add_crop_id(pa.table(rows))


def test_a_bad_crop_is_one_reject_and_its_neighbours_are_kept() -> None:
    out = EmbedCrops(Overflowing)(_batch())
    assert out.schema == keyed_embeddings(DIM).schema
    assert out["crop_id"].to_pylist() == ["a:wrist", "a:distal_ulna", "b:wrist", "b:distal_ulna"]
    assert out["error"].to_pylist() == [None, "corrupt_image", "stage_failed", None]
    assert out["error_stage"].to_pylist() == [None, "embed", "embed", None]
    found = vectors(out["embedding"])
    assert np.isnan(found[1:3]).all()
    assert np.allclose(np.linalg.norm(found[[0, 3]], axis=1), 1, atol=1e-5)


def test_a_batch_without_a_readable_crop_needs_no_encoder() -> None:
    batch = _batch().slice(1, 1)
    assert EmbedCrops(FakeEncoder)(batch)["error"].to_pylist() == ["corrupt_image"]


def test_the_batch_a_crop_is_in_does_not_matter() -> None:
    whole = EmbedCrops(Overflowing)(_batch())
    parts = [EmbedCrops(Overflowing)(_batch().slice(i, 1)) for i in range(4)]
    assert pa.concat_tables(parts).drop_columns("embedding") == whole.drop_columns("embedding")
    alone = np.concatenate([vectors(p["embedding"]) for p in parts])
    assert np.array_equal(alone, vectors(whole["embedding"]), equal_nan=True)


def test_the_derived_key_leaves_the_published_table() -> None:
    assert drop_crop_id(EmbedCrops(Overflowing)(_batch())).schema == embeddings(DIM).schema


def test_an_exam_that_left_the_archive_has_no_row() -> None:
    table = embeddings(DIM)
    rows = [{"exam_id": e, "region": "wrist", "embedding": np.full(DIM, i)} for i, e in enumerate("abd")]
    vectors_ND = dense(conform(rows, table), Region.WRIST, pa.chunked_array([["b", "c", "d"]]), DIM)
    assert vectors_ND[:, 0].tolist()[::2] == [1, 2]
    assert np.isnan(vectors_ND[1]).all()
