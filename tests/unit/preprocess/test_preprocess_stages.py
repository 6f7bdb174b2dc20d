"""One function makes the crops of archive and queries; its stages account for every row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.unit.preprocess.fake_detectors import Shares, Told, fake_load
from wristmir_ray import keys
from wristmir_ray.anatomy import BONES, Box, Region
from wristmir_ray.errors import ErrorCode
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import crop, decode_png, encode_png
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.models.detector import Detection, Detector
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.preview import TILE_PX, drawn
from wristmir_ray.preprocess.regions import extract_batch, extract_regions
from wristmir_ray.preprocess.stages import (
    RADIOGRAPHS,
    DetectAndCrop,
    ReadDetectAndCrop,
    explode_crops,
    explode_regions,
    read_radiographs,
)
from wristmir_ray.schemas import CROPS, PREPROCESSED, REGIONS

CONFIG = RegionConfig()
WRIST = Box(40, 60, 200, 300)
FOUND = Detection(Region.WRIST, WRIST, 0.9)
ULNA_IN_ROI = Box(100, 100, 140, 200)
ULNA = Detection(Region.DISTAL_ULNA, ULNA_IN_ROI, 0.8)


def picture(rows: int = 360, cols: int = 240, low: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(low, 255, (rows, cols), np.uint8)


def test_boxes_are_in_source_pixels_and_bones_are_sought_in_the_enhanced_wrist() -> None:
    gray, bones = picture(), Told(ULNA)
    wrist, radius, ulna, styloid = extract_regions(gray, Told(FOUND), bones, CONFIG)
    roi = enhance(crop(gray, WRIST, CONFIG.roi_margin), CONFIG.enhance)
    np.testing.assert_array_equal(bones.seen[0], roi)
    assert (wrist.box, wrist.score) == (WRIST, 0.9)
    assert ulna.box == ULNA_IN_ROI.shift(40 - 8, 60 - 12)  # the cut starts 5 % of 160 x 240 before the box
    assert [r.region for r in (wrist, radius, ulna, styloid)] == list(Region)
    assert radius.error == styloid.error == ErrorCode.NO_REGION
    assert radius.box is None
    assert radius.crop is None


def test_a_bone_is_cut_from_the_enhanced_wrist_with_its_margin() -> None:
    gray = picture()
    found = extract_regions(gray, Told(FOUND), Told(ULNA), CONFIG)
    roi = enhance(crop(gray, WRIST, CONFIG.roi_margin), CONFIG.enhance)
    cut = crop(roi, ULNA_IN_ROI, CONFIG.bone_margin)
    assert cut.shape == (130, 52)
    square = found[2].crop
    assert square is not None
    assert square.shape == (130, 130)
    np.testing.assert_array_equal(square[:, 39:91], cut)
    assert not square[:, :39].any()
    assert not square[:, 91:].any()


def test_large_crops_shrink_and_small_ones_stay() -> None:
    big = np.full((2000, 1500), 200, np.uint8)
    wrist = Detection(Region.WRIST, Box(100, 100, 1400, 1900), 0.9)
    small = Detection(Region.ULNAR_STYLOID, Box(100, 100, 130, 120), 0.9)
    radius = Detection(Region.DISTAL_RADIUS, Box(400, 900, 800, 1600), 0.9)
    found = extract_regions(big, Told(wrist), Told(small, radius), CONFIG)
    assert found[0].crop is not None
    assert found[0].crop.shape == (224, 224)
    assert found[3].crop is not None
    assert found[3].crop.shape == (60, 60)  # 30 px and half of that on each side


def test_the_best_wrist_is_taken() -> None:
    other = Detection(Region.WRIST, Box(0, 0, 30, 30), 0.4)
    assert extract_regions(picture(), Told(other, FOUND), Told(ULNA), CONFIG)[0].box == WRIST


def test_without_a_wrist_every_region_says_so_and_bones_are_not_sought() -> None:
    bones = Told(ULNA)
    found = extract_regions(picture(), Told(), bones, CONFIG)
    assert [r.error for r in found] == [ErrorCode.NO_WRIST] * 4
    assert not bones.seen


shares = st.tuples(*(st.floats(0, 1) for _ in range(4))).map(
    lambda s: (min(s[0], s[2]), min(s[1], s[3]), max(s[0], s[2]) + 1e-3, max(s[1], s[3]) + 1e-3)
)


@hypothesis_settings(max_examples=60)
@given(st.integers(32, 300), st.integers(32, 300), st.lists(shares, min_size=4, max_size=4))
def test_any_box_gives_square_crops_inside_the_image(rows: int, cols: int, s: list[tuple[float, ...]]) -> None:
    gray = picture(rows, cols)
    roi = Shares({Region.WRIST: s[0]})  # type: ignore[dict-item]
    bones = Shares(dict(zip(BONES, s[1:], strict=True)))  # type: ignore[arg-type]
    for r in extract_regions(gray, _Clipped(roi), _Clipped(bones), CONFIG):
        if r.error is None:
            assert r.crop is not None
            assert r.box is not None
            assert r.crop.shape[0] == r.crop.shape[1] <= CONFIG.crop_size
            assert -1e-6 <= r.box.x0_px < r.box.x1_px <= cols + 1e-6
            assert -1e-6 <= r.box.y0_px < r.box.y1_px <= rows + 1e-6


class _Clipped:
    """Detections as a detector gives them: inside the image, never empty."""

    digest = "clipped"
    typical_scores = dict.fromkeys(Region, 1.0)

    def __init__(self, inner: Shares) -> None:
        self._inner = inner

    def detect(self, images: list[np.ndarray]) -> list[list[Detection]]:
        out = []
        for image, found in zip(images, self._inner.detect(images), strict=True):
            clipped = [Detection(d.region, d.box.clip(*image.shape), d.score) for d in found]
            out.append([d for d in clipped if d.box.width_px > 0 and d.box.height_px > 0])
        return out


def exams(folder: Path) -> pa.Table:
    (folder / "good.png").write_bytes(encode_png(picture()))
    (folder / "dark.png").write_bytes(encode_png(np.eye(360, 240, dtype=np.uint8) * 255))
    (folder / "cut.png").write_bytes(encode_png(picture())[:400])
    rows = [
        {
            "source_id": f"s-{n}",
            "exam_id": f"e-{n}",
            "source_uri": str(folder / f"{n}.png"),
            "pixel_id": keys.pixel_id(picture()) if n == "good" else None,
            "laterality": None,
            "split": "train",
        }
        for n in ("good", "dark", "cut", "gone")
    ]
    return pa.Table.from_pylist(rows)


def fakes() -> tuple[Detector, Detector]:
    return fake_load("", "roi_detector", ""), fake_load("", "bone_detector", "")


def preprocessed(folder: Path) -> pa.Table:
    stage = DetectAndCrop(CONFIG, fakes)
    return stage(read_radiographs(exams(folder), config=DecodeConfig()))


def test_reading_gives_a_row_for_every_exam(tmp_path: Path) -> None:
    read = read_radiographs(exams(tmp_path), config=DecodeConfig())
    assert read.schema == RADIOGRAPHS.schema
    assert read["error"].to_pylist() == [None, None, "corrupt_image", "source_unreadable"]
    assert read["rows"].to_pylist() == [360, 360, None, None]
    assert len(read["gray"][0].as_py()) == 360 * 240


def test_every_exam_has_four_regions_whatever_befell_it(tmp_path: Path) -> None:
    rows = preprocessed(tmp_path)
    assert rows.schema == PREPROCESSED.schema
    assert rows["error"].to_pylist() == [None, "no_wrist", "corrupt_image", "source_unreadable"]
    found = [[r["region"] for r in regions] for regions in rows["regions"].to_pylist()]
    assert found == [["distal_radius", "distal_ulna", "ulnar_styloid", "wrist"]] * 4  # as tables are sorted
    codes = [[r["error"] for r in regions] for regions in rows["regions"].to_pylist()]
    assert codes[0] == [None, None, "no_region", None]
    assert [set(c) for c in codes[1:]] == [{"no_wrist"}, {"corrupt_image"}, {"source_unreadable"}]
    assert {len(c) for c in codes} == {4}


def test_decoding_beside_the_detectors_or_before_them_is_the_same(tmp_path: Path) -> None:
    stage = ReadDetectAndCrop(CONFIG, fakes, DecodeConfig())
    assert stage(exams(tmp_path)).equals(preprocessed(tmp_path))


def test_regions_and_crops_come_out_of_one_row(tmp_path: Path) -> None:
    rows = preprocessed(tmp_path)
    digests = {Region.WRIST: "roi", **dict.fromkeys(BONES, "bone")}
    regions, crops = explode_regions(rows, digests=digests), explode_crops(rows, version="v1")
    assert regions.schema == REGIONS.schema
    assert crops.schema == CROPS.schema
    assert regions.num_rows == crops.num_rows == 16
    assert regions["region"].to_pylist() == sorted(str(r) for r in Region) * 4
    assert regions["detector_digest"].to_pylist()[:4] == ["bone", "bone", "bone", "roi"]
    good = [r for r in crops.to_pylist() if r["error"] is None]
    assert {(r["exam_id"], r["region"]) for r in good} == {
        ("e-good", "wrist"),
        ("e-good", "distal_radius"),
        ("e-good", "distal_ulna"),
    }
    for r in good:
        assert decode_png(r["png"]).shape == (r["rows"], r["cols"])
        assert (r["split"], r["preprocess_version"]) == ("train", "v1")
    missing = crops.to_pylist()[2]  # the styloid
    assert (missing["error"], missing["error_stage"], missing["png"]) == ("no_region", "preprocess", None)
    assert missing["error_message"] == "the detector found none"
    box = regions.to_pylist()[3]  # of the wrist
    assert [box[n] for n in ("x0_px", "y0_px", "x1_px", "y1_px")] == pytest.approx([48, 36, 192, 324])


def test_exploding_keeps_its_place_in_a_slice(tmp_path: Path) -> None:
    rows = preprocessed(tmp_path)
    whole = explode_crops(rows, version="v1")
    parts = [explode_crops(rows.slice(i, 1), version="v1") for i in range(rows.num_rows)]
    assert pa.concat_tables(parts).to_pylist() == whole.to_pylist()
    assert explode_crops(PREPROCESSED.schema.empty_table(), version="v1").num_rows == 0
    chunked = pa.concat_tables([rows.slice(0, 2), rows.slice(2)])
    assert explode_crops(chunked, version="v1").to_pylist() == whole.to_pylist()


def test_a_detector_that_fails_costs_one_row(tmp_path: Path) -> None:
    class Broken:
        digest = "broken"
        typical_scores = dict.fromkeys(Region, 1.0)

        def detect(self, images: list[np.ndarray]) -> list[list[Detection]]:
            raise RuntimeError("secret text")

    stage = DetectAndCrop(CONFIG, lambda: (Broken(), Broken()))
    rows = stage(read_radiographs(exams(tmp_path), config=DecodeConfig())).to_pylist()
    assert [r["error"] for r in rows] == ["stage_failed", "stage_failed", "corrupt_image", "source_unreadable"]
    assert rows[0]["error_message"] == "RuntimeError"


def test_a_bad_radiograph_costs_its_batch_nothing(tmp_path: Path) -> None:
    class FailsOnDark(Shares):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
            if any(image.mean() < 20 for image in images):
                raise RuntimeError("secret text")
            return super().detect(images)

    fragile = FailsOnDark({Region.WRIST: (0.2, 0.1, 0.8, 0.9)})
    stage = DetectAndCrop(CONFIG, lambda: (fragile, fakes()[1]), threads=2)
    rows = stage(read_radiographs(exams(tmp_path), config=DecodeConfig())).to_pylist()
    assert [r["error"] for r in rows] == [None, "stage_failed", "corrupt_image", "source_unreadable"]
    assert rows[0] == preprocessed(tmp_path).to_pylist()[0]


def test_both_networks_are_given_the_whole_batch() -> None:
    seen: list[int] = []

    class Counts(Shares):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
            seen.append(len(images))
            return super().detect(images)

    wrist = {Region.WRIST: (0.1, 0.1, 0.9, 0.9)}
    bones = {Region.DISTAL_RADIUS: (0.1, 0.4, 0.5, 0.9), Region.DISTAL_ULNA: (0.6, 0.4, 0.9, 0.9)}
    grays = [picture(90, 70), np.zeros((64, 64), np.uint8), picture(120, 100)]
    found = extract_batch(grays, [None] * 3, Counts(wrist), Counts(bones), CONFIG)
    assert seen[:2] == [3, 2], "bones are looked for where there is a wrist"
    assert seen[2:] == [1, 0], "the dark one is looked at once more, turned"
    for gray, of_batch in zip(grays, found, strict=True):
        alone = extract_regions(gray, Shares(wrist), Shares(bones), CONFIG)
        assert [(r.region, r.box, r.score, r.error) for r in of_batch] == [
            (r.region, r.box, r.score, r.error) for r in alone
        ]


def test_a_box_of_less_than_a_pixel_is_none() -> None:
    gray = picture(64, 64)
    thin = {Region.DISTAL_RADIUS: (0.5, 0.0, 0.5001, 1.0), Region.DISTAL_ULNA: (0.6, 0.4, 0.9, 0.9)}
    found = extract_regions(gray, Shares({Region.WRIST: (0.0, 0.0, 1.0, 1.0)}), Shares(thin), CONFIG)
    assert [r.error for r in found] == [None, "no_region", None, "no_region"]
    nothing = extract_regions(gray, Shares({Region.WRIST: (0.5, 0.0, 0.5001, 1.0)}), Shares(thin), CONFIG)
    assert {r.error for r in nothing} == {"no_wrist"}


def test_a_preview_tile_shows_the_box() -> None:
    box = {"region": "wrist", "x0_px": 60.0, "y0_px": 60.0, "x1_px": 180.0, "y1_px": 240.0}
    bare, with_box = drawn(np.zeros((360, 240), np.uint8), []), drawn(np.zeros((360, 240), np.uint8), [box])
    assert with_box.shape == (TILE_PX, TILE_PX, 3)
    assert not bare.any()
    assert with_box[43, 100].any()  # the upper edge: 60 px of 360 in a tile of 256
    assert not with_box[90, 100].any()
