"""Exams with true boxes become training samples that show what the run-time pipeline will show."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Box, Region, Split
from wristmir_ray.detection.config import DetectionConfig
from wristmir_ray.detection.dataset import SAMPLES, choose_exams, images_and_truth, write_yolo
from wristmir_ray.detection.stages import bone_sample, empty_sample, jitter, pair_sample, prepare_samples, sample
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging.crop import crop, decode_png, encode_png, resize, resize_longer_side
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.schemas import EXAMS
from wristmir_ray.tables import conform

CONFIG = DetectionConfig(root="unused", boxes="unused", roi_jitter=0.0)
WRIST, RADIUS, STYLOID = Box(40, 60, 200, 300), Box(60, 150, 130, 260), Box(150, 140, 170, 170)
TRUTH = [(Region.WRIST, WRIST), (Region.DISTAL_RADIUS, RADIUS), (Region.ULNAR_STYLOID, STYLOID)]


def picture(rows: int = 360, cols: int = 240) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (rows, cols), np.uint8)


def box_rows(file: str) -> list[dict[str, object]]:
    corners = ("x0_px", "y0_px", "x1_px", "y1_px")
    return [{"file": file, "region": str(r)} | {n: getattr(b, n) for n in corners} for r, b in TRUTH]


def labels() -> list[dict[str, object]]:
    return [
        {"region": str(r), "x0": b.x0_px, "y0": b.y0_px, "x1": b.x1_px, "y1": b.y1_px, "shares": False}
        for r, b in TRUTH
    ]


def in_pixels(made: dict[str, object], rows: float, cols: float) -> list[Box]:
    shares = np.asarray(made["boxes"], float).reshape(-1, 4) * [cols, rows, cols, rows]
    return [Box(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in shares]


def test_a_wrist_sample_is_the_shrunk_image_with_one_box() -> None:
    gray = picture()
    made = sample(gray, TRUTH, "roi", CONFIG)
    np.testing.assert_array_equal(decode_png(made["png"]), resize_longer_side(gray, CONFIG.roi.image_size))
    assert made["classes"] == [0]
    (box,) = in_pixels(made, 360, 240)
    assert box.iou(WRIST) == pytest.approx(1)


def test_a_bone_sample_is_what_preprocess_cuts() -> None:
    gray = picture()
    made = bone_sample(gray, TRUTH, CONFIG, np.random.default_rng(0))
    assert made is not None
    roi = enhance(crop(gray, WRIST, CONFIG.roi_margin), CONFIG.enhance)
    np.testing.assert_array_equal(decode_png(made["png"]), resize_longer_side(roi, CONFIG.bones.image_size))
    assert made["classes"] == [0, 2]
    radius, styloid = in_pixels(made, *roi.shape)
    assert radius.shift(40 - 8, 60 - 12).iou(RADIUS) == pytest.approx(1)  # 5 % of 160 x 240
    assert styloid.shift(40 - 8, 60 - 12).iou(STYLOID) == pytest.approx(1)


def test_without_a_wrist_there_is_no_bone_sample() -> None:
    assert bone_sample(picture(), TRUTH[1:], CONFIG, np.random.default_rng(0)) is None


def test_a_picture_of_no_wrist_is_the_hand_or_the_forearm_alone() -> None:
    """Of 360 rows the wrist takes 60 to 300: what lies above and below is 60 rows each."""
    gray, config = picture(), CONFIG.with_(empty_share=0.5)
    made = [empty_sample(gray, TRUTH, config, np.random.default_rng(seed)) for seed in range(80)]
    pictures = [decode_png(m["png"]) for m in made if m is not None]
    assert 20 < len(pictures) < 60
    either = [resize_longer_side(part, CONFIG.roi.image_size) for part in (gray[:60], gray[300:])]
    which = [[np.array_equal(p, e) for e in either] for p in pictures]
    assert {tuple(w) for w in which} == {(True, False), (False, True)}
    assert all(m["boxes"] == m["classes"] == [] for m in made if m is not None)


def test_a_wrist_that_fills_the_image_leaves_no_picture_of_none() -> None:
    config = CONFIG.with_(empty_share=1.0)
    filling = [(Region.WRIST, Box(0, 30, 240, 340))]
    assert empty_sample(picture(), filling, config, np.random.default_rng(0)) is None
    assert empty_sample(picture(), TRUTH[1:], config, np.random.default_rng(0)) is None


def test_a_pair_shows_a_wrist_and_its_mirror_image_with_both_boxes() -> None:
    gray = np.add.outer(np.arange(360) / 3, np.arange(240) / 2).astype(np.uint8)
    config = CONFIG.with_(pair_share=0.5, roi={"target": "roi", "image_size": 640})
    made = [m for m in (pair_sample(gray, TRUTH, config, np.random.default_rng(s)) for s in range(80)) if m]
    assert 20 < len(made) < 60
    assert all(m["classes"] == [0, 0] for m in made)
    sides = set()
    for m in made:
        pixels = decode_png(m["png"])
        first, second = in_pixels(m, *pixels.shape)
        sides.add(first.x0_px < second.x0_px)
        assert first.iou(second) == 0
        assert 0.45 < second.area_px2 / first.area_px2 <= 1.01
        seen = [resize(crop(pixels, box, 0), 60, 40).astype(float) for box in (first, second)]
        assert np.abs(seen[0] - seen[1][:, ::-1]).max() < 8
    assert sides == {True, False}
    assert pair_sample(gray, TRUTH[1:], config.with_(pair_share=1.0), np.random.default_rng(0)) is None


def test_pictures_of_no_wrist_and_of_two_are_for_the_wrist_detector_in_training_alone(tmp_path: Path) -> None:
    batch, config = exams_batch(tmp_path).slice(0, 1), CONFIG.with_(empty_share=1.0, pair_share=1.0)
    val = batch.set_column(2, "split", pa.array(["val"]))
    made = pa.concat_tables([prepare_samples(b, config=config) for b in (batch, val)])
    written = {}
    for target in ("roi", "bones"):
        (tmp_path / target).mkdir()
        write_yolo(made, target, tmp_path / target)
        labels = sorted((tmp_path / target).rglob("*.txt"))
        written[target] = {f"{f.parent.name}/{f.stem}": f.read_text().count("\n") + bool(f.read_text()) for f in labels}
    assert written["roi"] == {"train/good": 1, "train/good-empty": 0, "train/good-pair": 2, "val/good": 1}
    assert written["bones"] == {"train/good": 2, "val/good": 2}


def test_bones_outside_the_jittered_wrist_are_left_out() -> None:
    far = [*TRUTH, (Region.DISTAL_ULNA, Box(0, 0, 20, 20))]
    made = bone_sample(picture(), far, CONFIG, np.random.default_rng(0))
    assert made is not None
    assert made["classes"] == [0, 2]


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.4))
def test_jitter_moves_each_edge_by_its_share_at_most(seed: int, share: float) -> None:
    moved = jitter(WRIST, share, np.random.default_rng(seed))
    assert abs(moved.x0_px - WRIST.x0_px) <= share * 160 + 1e-9
    assert abs(moved.x1_px - WRIST.x1_px) <= share * 160 + 1e-9
    assert abs(moved.y0_px - WRIST.y0_px) <= share * 240 + 1e-9
    assert abs(moved.y1_px - WRIST.y1_px) <= share * 240 + 1e-9
    assert moved.area_px2 > 0


def exams_batch(folder: Path) -> pa.Table:
    (folder / "good.png").write_bytes(encode_png(picture()))
    (folder / "cut.png").write_bytes(encode_png(picture())[:300])
    rows = [
        {
            "exam_id": n,
            "source_uri": str(folder / f"{n}.png"),
            "split": "train",
            "pixel_id": keys.pixel_id(picture()) if n != "gone" else "replaced",
            "boxes": labels(),
            "targets": ["roi", "bones"],
        }
        for n in ("good", "cut", "gone")
    ]
    return pa.Table.from_pylist(rows)


def test_a_bad_exam_is_a_row(tmp_path: Path) -> None:
    made = prepare_samples(exams_batch(tmp_path), config=CONFIG)
    assert made.schema == SAMPLES.schema
    assert made["error"].to_pylist() == [None, "corrupt_image", "source_unreadable"]
    assert made["roi"].to_pylist()[1] is None
    assert "good" not in " ".join(m for m in made["error_message"].to_pylist() if m)


def test_the_same_seed_gives_the_same_samples(tmp_path: Path) -> None:
    batch, config = exams_batch(tmp_path), CONFIG.with_(roi_jitter=0.1)
    assert prepare_samples(batch, config=config).equals(prepare_samples(batch, config=config))
    assert not prepare_samples(batch, config=config).equals(prepare_samples(batch, config=config.with_(seed=1)))


def test_yolo_folder_and_truth_agree(tmp_path: Path) -> None:
    made = prepare_samples(exams_batch(tmp_path), config=CONFIG).slice(0, 1)
    (tmp_path / "yolo").mkdir()
    description = write_yolo(made, "bones", tmp_path / "yolo").read_text()
    assert "0: distal_radius\n  1: distal_ulna\n  2: ulnar_styloid" in description
    images, truth = images_and_truth(made, "bones", Split.TRAIN)
    (label,) = (tmp_path / "yolo" / "labels" / "train").iterdir()
    first = label.read_text().splitlines()[0].split()
    rows, cols = images[0].shape
    box = truth[0][Region.DISTAL_RADIUS][0]
    assert first[0] == "0"
    assert float(first[1]) * cols == pytest.approx((box.x0_px + box.x1_px) / 2, abs=0.01)
    assert float(first[4]) * rows == pytest.approx(box.height_px, abs=0.01)
    assert (tmp_path / "yolo" / "images" / "train" / f"{label.stem}.png").exists()
    assert images_and_truth(made, "bones", Split.VAL) == ([], [])


def archive(root: Path, splits: dict[str, str | None]) -> DetectionConfig:
    """Publish EXAMS of the given splits, and boxes for all of them but the last."""
    rows = [{"exam_id": n, "source_uri": f"/somewhere/images/{n}.png", "split": s} for n, s in splits.items()]
    folder = storage.run_uri(str(root), EXAMS.name, "r1")
    storage.write_parquet(conform(rows, EXAMS), storage.join(folder, "a.parquet"), 64)
    manifest = storage.Manifest(EXAMS.name, "r1", "ingest", schema=EXAMS.fingerprint, files=["a.parquet"])
    storage.publish(str(root), manifest)
    boxes = [row for n in list(splits)[:-1] for row in box_rows(f"images/{n}.png")]
    pq.write_table(pa.Table.from_pylist(boxes), root / "boxes.parquet")
    return DetectionConfig(root=str(root), boxes=str(root / "boxes.parquet"), train_images=2, val_images=1)


def test_exams_are_chosen_by_split_box_and_seed(tmp_path: Path) -> None:
    splits = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "val", "t": "test", "z": "train"}
    config = archive(tmp_path, splits)
    chosen = choose_exams(config).to_pylist()
    assert [splits[e["exam_id"]] for e in chosen] == ["train", "train", "val"]
    assert len(chosen[0]["boxes"]) == 3
    seen = {e["exam_id"] for s in range(20) for e in choose_exams(config.with_(seed=s)).to_pylist()}
    assert seen == {"a", "b", "c", "d", "e"}
    assert choose_exams(config).equals(choose_exams(config))


def test_a_detector_may_learn_from_some_of_the_exams_and_is_judged_on_all(tmp_path: Path) -> None:
    splits = {"a": "train", "b": "train", "d": "val", "e": "val", "z": "train"}
    config = archive(tmp_path, splits).with_(roi={"target": "roi", "train_images": 1}, val_images=2)
    targets = [e["targets"] for e in choose_exams(config).to_pylist()]
    assert targets == [["roi", "bones"], ["bones"], ["roi", "bones"], ["roi", "bones"]]
    few = exams_batch(tmp_path).slice(0, 1).drop_columns("targets").append_column("targets", pa.array([["bones"]]))
    (row,) = prepare_samples(few, config=config.with_(empty_share=1.0)).to_pylist()
    assert (row["roi"], row["empty"]) == (None, None)
    assert row["bones"]["classes"] == [0, 2]


def test_labels_without_extension_and_in_shares_find_their_image(tmp_path: Path) -> None:
    config = archive(tmp_path, {"a": "train", "d": "val", "z": "train"})
    labels = tmp_path / "yolo" / "labels"
    labels.mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text("names: [wrist]")
    for name in ("a", "d"):
        (labels / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5")
    chosen = choose_exams(config.with_(boxes=str(tmp_path / "yolo" / "data.yaml"))).to_pylist()
    assert [e["exam_id"] for e in chosen] == ["a", "d"]
    assert chosen[0]["boxes"] == [{"region": "wrist", "x0": 0.25, "y0": 0.25, "x1": 0.75, "y1": 0.75, "shares": True}]


def test_a_split_without_boxes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="val split"):
        choose_exams(archive(tmp_path, {"a": "train", "z": "val"}))
