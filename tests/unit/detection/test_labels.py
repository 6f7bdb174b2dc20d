"""True boxes of every format that labelling tools write."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wristmir_ray.anatomy import Region
from wristmir_ray.detection.labels import Label, read_labels, stem
from wristmir_ray.errors import ConfigError

NAMES = {"Radius": Region.DISTAL_RADIUS, "styloid": Region.ULNAR_STYLOID}


def write_parquet(folder: Path) -> str:
    row = {"file": "a/1.png", "region": "distal_radius", "x0_px": 10.0, "y0_px": 20.0, "x1_px": 30.0, "y1_px": 50.0}
    pq.write_table(pa.Table.from_pylist([row]), folder / "boxes.parquet")
    return str(folder / "boxes.parquet")


def write_coco(folder: Path) -> str:
    whole = {
        "images": [{"id": 7, "file_name": "a/1.png", "width": 100, "height": 200}],
        "categories": [{"id": 1, "name": "radius"}, {"id": 2, "name": "metal"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 20, 30]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5]},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [0, 0, 90, 90], "iscrowd": 1},
        ],
    }
    (folder / "coco.json").write_text(json.dumps(whole))
    return str(folder / "coco.json")


def write_voc(folder: Path) -> str:
    box = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>30</xmax><ymax>50</ymax></bndbox>"
    (folder / "voc").mkdir()
    (folder / "voc" / "1.xml").write_text(
        f"<annotation><filename>a/1.png</filename><object><name>radius</name>{box}</object>"
        f"<object><name>metal</name>{box}</object></annotation>"
    )
    return str(folder / "voc")


@pytest.mark.parametrize("write", [write_parquet, write_coco, write_voc])
def test_formats_in_pixels_say_the_same(tmp_path: Path, write: Callable[[Path], str]) -> None:
    assert read_labels(write(tmp_path), NAMES) == [Label("a/1.png", Region.DISTAL_RADIUS, (10.0, 20.0, 30.0, 50.0))]


@pytest.mark.parametrize("names", ["[metal, Radius]", "{0: metal, 1: radius}"])
def test_yolo_is_in_shares_and_knows_no_extension(tmp_path: Path, names: str) -> None:
    labels = tmp_path / "labels" / "train"
    labels.mkdir(parents=True)
    (tmp_path / "data.yaml").write_text(f"train: images/train\nnames: {names}\n")
    (labels / "1.txt").write_text("1 0.2 0.175 0.2 0.15\n\n0 0.5 0.5 1 1\n")
    (tmp_path / "notes.txt").write_text("not a label")
    (found,) = read_labels(str(tmp_path / "data.yaml"), NAMES)
    assert (found.file, found.region, found.shares) == ("1", Region.DISTAL_RADIUS, True)
    assert found.corners == pytest.approx((0.1, 0.1, 0.3, 0.25))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", "x"),
        ("a.json", "{}"),
        ("a.json", "["),
        ("a.yaml", "names: 3"),
        ("a.xml", "<a>"),
        ("b.parquet", None),
    ],
)
def test_what_is_no_label_file_is_refused_by_its_name(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=f"cannot read boxes .*{name}"):
        read_labels(str(tmp_path / name), {})


def test_labels_of_other_things_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metal.*setting 'classes'"):
        read_labels(write_coco(tmp_path), {})


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a"], "region": ["wrist"]}), tmp_path / "short.parquet")
    with pytest.raises(ConfigError, match="x0_px"):
        read_labels(str(tmp_path / "short.parquet"), {})


@pytest.mark.parametrize(("file", "expected"), [("a/1.PNG", "a/1"), ("1.2.840.dcm", "1.2.840"), ("1.2.840", "1.2.840")])
def test_the_stem_of_an_image(file: str, expected: str) -> None:
    assert stem(file) == expected
