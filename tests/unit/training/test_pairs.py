"""Decoding, joining and ordering of training pairs."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.training import toy
from wristmir_ray import schemas, storage
from wristmir_ray.anatomy import Region, Split
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.models.encoder import resize_square
from wristmir_ray.tables import conform
from wristmir_ray.training import pairs
from wristmir_ray.training.pairs import epoch_order, open_pairs
from wristmir_ray.training.stages import decode_pixels, store_pixels


def test_decoding_leaves_test_patients_out_and_keeps_the_declared_schema() -> None:
    crops = toy.crops_table(10)
    pixels = decode_pixels(crops, side_px=36)
    assert pixels.schema == schemas.pixels(36).schema
    assert pixels.num_rows == 8 * 4
    png = crops["png"][5].as_py()
    wanted = resize_square(decode_png(png), 36)
    assert np.array_equal(pixels["pixels"].combine_chunks().to_numpy_ndarray()[5], wanted)


def test_a_broken_crop_is_one_reject_and_its_neighbours_stay(tmp_path: Path) -> None:
    crops = toy.crops_table(10)
    png = crops["png"].to_pylist()
    png[3], png[7] = b"not a picture", None
    crops = crops.set_column(2, "png", pa.array(png, pa.binary()))
    errors = decode_pixels(crops, side_px=36)["error"].to_pylist()
    assert [i for i, e in enumerate(errors) if e] == [3, 7]
    assert {e for e in errors if e} == {"corrupt_image"}
    receipt = store_pixels(crops, side_px=36, folder=str(tmp_path)).to_pylist()[0]
    broken = [f"{crops['exam_id'][i]}|{crops['region'][i]}" for i in (3, 7)]
    assert (receipt["rows"], receipt["rejected"]) == (30, broken)
    captions = conform(toy.rows(10)[1], schemas.CAPTIONS)
    pairs = open_pairs([str(tmp_path / receipt["file"])], captions, Split.TRAIN, tuple(Region))
    assert len(pairs) == 22


def test_a_retried_batch_overwrites_itself(tmp_path: Path) -> None:
    crops = toy.crops_table(10)
    first = store_pixels(crops, side_px=36, folder=str(tmp_path))
    assert store_pixels(crops, side_px=36, folder=str(tmp_path)) == first
    assert len(list(tmp_path.iterdir())) == 1


def test_pixels_and_captions_meet_on_exam_and_region(tmp_path: Path) -> None:
    """However the crops are cut into files, a pair holds its own crop and caption, in key order."""
    crops = toy.crops_table(20)
    files = [
        str(tmp_path / store_pixels(part, side_px=36, folder=str(tmp_path))["file"][0].as_py())
        for part in (crops.slice(40, 40), crops.slice(0, 17), crops.slice(17, 23))
    ]
    crop_rows, caption_rows = toy.rows(20)
    captions = conform(caption_rows[::-1], schemas.CAPTIONS)
    pairs = open_pairs(files, captions, Split.VAL, tuple(Region))
    of_key = {f"{c['exam_id']}|{c['region']}": (c, t) for c, t in zip(crop_rows, caption_rows, strict=True)}
    assert pairs.keys == sorted(k for k, (c, _) in of_key.items() if c["split"] == "val")
    pixels = pairs.pixels(np.arange(len(pairs)))
    for i, key in enumerate(pairs.keys):
        crop, caption = of_key[key]
        assert pairs.captions[pairs.caption[i]] == caption["caption"]
        assert list(Region)[pairs.region[i]] == caption["region"]
        assert pairs.label[i] == (caption["presence"] == "present")
        assert np.array_equal(pixels[i], resize_square(decode_png(crop["png"]), 36))  # type: ignore[arg-type]


def test_regions_and_a_limit_choose_pairs(tmp_path: Path) -> None:
    file = store_pixels(toy.crops_table(20), side_px=36, folder=str(tmp_path))["file"][0].as_py()
    captions = conform(toy.rows(20)[1], schemas.CAPTIONS)
    wrists = open_pairs([str(tmp_path / file)], captions, Split.TRAIN, (Region.WRIST,), limit=5)
    assert len(wrists) == 5
    assert set(wrists.captions) <= {"Left wrist X-ray (PA view).", "Right wrist X-ray (PA view)."}


def test_pixels_that_were_damaged_on_the_disk_name_their_crop(tmp_path: Path) -> None:
    """One bit of one crop; a crop that is not asked for is not looked at."""
    file = tmp_path / store_pixels(toy.crops_table(10), side_px=36, folder=str(tmp_path))["file"][0].as_py()
    captions = conform(toy.rows(10)[1], schemas.CAPTIONS)
    pairs = open_pairs([str(file)], captions, Split.TRAIN, tuple(Region))
    content = bytearray(file.read_bytes())
    place = content.index(pairs.pixels(np.array([5])).tobytes())
    key = pairs.keys[5]
    del pairs
    content[place + 700] ^= 1
    file.unlink()  # the old file is still mapped
    file.write_bytes(content)
    with pytest.raises(
        ConfigError, match=re.escape(f"pixels of 1 crops were damaged on the disk, first {key}; delete")
    ):
        open_pairs([str(file)], captions, Split.TRAIN, tuple(Region))
    assert len(open_pairs([str(file)], captions, Split.VAL, tuple(Region))) == 8


def test_no_pixels_are_no_pairs() -> None:
    captions = conform(toy.rows(5)[1], schemas.CAPTIONS)
    assert len(open_pairs([], captions, Split.TRAIN, tuple(Region))) == 0


def test_an_uncertain_finding_has_no_label(tmp_path: Path) -> None:
    file = store_pixels(toy.crops_table(10), side_px=36, folder=str(tmp_path))["file"][0].as_py()
    captions = [{**row, "presence": "uncertain"} for row in toy.rows(10)[1]]
    pairs = open_pairs([str(tmp_path / file)], conform(captions, schemas.CAPTIONS), Split.TRAIN, tuple(Region))
    assert set(pairs.label) == {-1}


@pytest.mark.parametrize("pairs", [128, 1000])
def test_an_epoch_is_a_shuffle_of_full_batches(pairs: int) -> None:
    order = epoch_order(pairs, 128, seed=3, epoch=2)
    assert order.shape == (pairs // 128, 128)
    assert len(np.unique(order)) == order.size
    assert np.array_equal(order, epoch_order(pairs, 128, seed=3, epoch=2))
    assert not np.array_equal(order, epoch_order(pairs, 128, seed=3, epoch=3))
    assert not np.array_equal(order, epoch_order(pairs, 128, seed=4, epoch=2))


def test_pixels_on_s3_are_copied_once_and_never_taken_for_another_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both runs name their file by the same keys."""
    monkeypatch.setattr(pairs, "_LOCAL_COPIES", tmp_path / "copies")
    files = []
    for side_px in (16, 24):
        folder = tmp_path / str(side_px)
        store_pixels(toy.crops_table(4), side_px=side_px, folder=str(folder))
        files.append(str(next(folder.iterdir())))
    assert Path(files[0]).name == Path(files[1]).name
    store = SimpleNamespace(
        is_s3=lambda uri: True, **{n: getattr(storage, n) for n in ("stamp", "read_bytes", "write_bytes")}
    )
    monkeypatch.setattr(pairs, "storage", store)
    sides = [pairs._pixels(pairs._map(file)).shape[1] for file in (*files, *files)]
    assert sides == [16, 24, 16, 24]
    assert len(list((tmp_path / "copies").iterdir())) == 2
