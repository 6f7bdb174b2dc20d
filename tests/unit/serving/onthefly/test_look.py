"""From a source to a bone, as the archive cut it: a fake detector, real files and the archive's own functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.preprocess.fake_detectors import Shares
from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.errors import StoreFailed
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.models.detector import Detection
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.looking import Look, cut_known
from wristmir_ray.preprocess.regions import RegionCrop, extract_known, extract_regions
from wristmir_ray.retrieval.unstored import Source, State
from wristmir_ray.serving.onthefly import look
from wristmir_ray.serving.onthefly.look import Cut, Looker, found_of

WRIST = Shares({Region.WRIST: (0.2, 0.1, 0.8, 0.9)})
INSIDE = {Region.DISTAL_RADIUS: (0.1, 0.4, 0.5, 0.9), Region.DISTAL_ULNA: (0.6, 0.4, 0.9, 0.9)}
CONFIG = RegionConfig()


def gray(rows: int = 90, cols: int = 70, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(30, 255, (rows, cols), np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(gray()))
    return path


def regions_of(pixels: np.ndarray) -> list[RegionCrop]:
    return extract_regions(pixels, WRIST, Shares(INSIDE), CONFIG)


def source(path: Path, **other: Any) -> Source:
    image = decode(path.read_bytes(), DecodeConfig())
    wrist = regions_of(image.gray)[0].box
    return Source(
        **{"exam_id": "e", "uri": str(path), "pixel_id": image.pixel_id, "wrist": wrist, "side": None} | other
    )


def cut(one: Source, region: Region = Region.DISTAL_RADIUS) -> Cut:
    looker = Looker(Shares(INSIDE), CONFIG, DecodeConfig())
    return looker.cut([one], looker.fetch([one]), region)[0]


side_px = st.integers(60, 300)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(60, 300), cols=st.integers(60, 300), box=st.lists(st.floats(0.02, 0.98), min_size=4, max_size=4)
)
def test_from_the_stored_box_on_everything_is_the_same(rows: int, cols: int, box: list[float]) -> None:
    """A detector's box is float32, so that the stored one is the one that was cut."""
    pixels = gray(rows, cols)
    x0, x1 = sorted(box[:2])
    y0, y1 = sorted(box[2:])
    wrist = Shares({Region.WRIST: (x0, y0, x1 + 0.02, y1 + 0.02)})
    asked = extract_regions(pixels, wrist, Shares(INSIDE), CONFIG)
    if asked[0].box is None:
        return
    look = cut_known(pixels, asked[0].box, CONFIG)
    found = [r for region in Region for r in extract_known([look], [None], region, Shares(INSIDE), CONFIG)]
    for a, b in zip(asked, found, strict=True):
        assert (a.region, a.box, a.error) == (b.region, b.box, b.error)
        assert (a.crop is None) == (b.crop is None)
        if a.crop is not None and b.crop is not None:
            np.testing.assert_array_equal(a.crop, b.crop)


def test_a_detectors_boxes_are_float32() -> None:
    from wristmir_ray.models.detector import DetectorSpec, read_output

    spec = DetectorSpec((Region.WRIST,), 64, (0.3,), 0.5)
    (found,) = read_output(np.array([[1 / 3, 2 / 3, 40.1, 50.2]]), np.array([[0.9]]), spec, 90, 70)
    values = [found.box.x0_px, found.box.y0_px, found.box.x1_px, found.box.y1_px]
    assert values == [float(np.float32(v)) for v in values]


@pytest.mark.parametrize("region", BONES)
def test_a_bone_is_cut_as_the_archive_cut_it(file: Path, region: Region) -> None:
    wanted = next(r for r in regions_of(decode(file.read_bytes(), DecodeConfig()).gray) if r.region is region)
    found = cut(source(file, side=Side.LEFT), region)
    assert found.state is (State.NO_REGION if wanted.crop is None else State.COMPARED)
    assert found.box == wanted.box
    if wanted.crop is not None:
        np.testing.assert_array_equal(found.crop, wanted.crop)


def test_a_source_that_is_gone_or_another_is_told(file: Path, tmp_path: Path) -> None:
    one = source(file)
    gone = source(file, uri=str(tmp_path / "none.png"))
    assert cut(gone).state is State.SOURCE_UNREADABLE
    file.write_bytes(encode_png(gray(seed=1)))
    assert cut(one).state is State.SOURCE_CHANGED
    file.write_bytes(b"no image")
    assert cut(one).state is State.SOURCE_CHANGED


def test_one_that_breaks_the_detector_takes_no_other_with_it(tmp_path: Path) -> None:
    sources = []
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(encode_png(gray(seed=i)))
        sources.append(source(tmp_path / f"{i}.png", exam_id=str(i)))
    looker = Looker(Shares(INSIDE), CONFIG, DecodeConfig())
    wanted = looker.cut(sources, looker.fetch(sources), Region.DISTAL_RADIUS)
    bad = looker._wrist(sources[3], (tmp_path / "3.png").read_bytes())
    assert isinstance(bad, Look)

    class Breaks(Shares):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
            if any(np.array_equal(image, bad.roi) for image in images):
                raise RuntimeError("an image that the network cannot take")
            return super().detect(images)

    looker._bones = Breaks(INSIDE)
    found = looker.cut(sources, looker.fetch(sources), Region.DISTAL_RADIUS)
    assert [f.state for f in found] == [State.SOURCE_UNREADABLE if i == 3 else State.COMPARED for i in range(5)]
    assert [f.box for f in found if f.box] == [w.box for i, w in enumerate(wanted) if i != 3]


def test_a_box_outside_an_image_of_unknown_pixels_is_told(file: Path) -> None:
    assert cut(source(file, pixel_id=None, wrist=Box(500, 500, 600, 600))).state is State.SOURCE_CHANGED


def test_a_store_that_is_away_says_nothing_of_an_image(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(uri: str) -> bytes:
        raise StoreFailed("away")

    one = source(file)
    monkeypatch.setattr(look, "read_source", away)
    found = cut(one)
    assert found == Cut(None)
    assert found_of([found], []) == [None]


def test_vectors_go_to_the_cuts_that_have_a_crop() -> None:
    crop, box = np.zeros((4, 4), np.uint8), Box(1 / 3, 1, 2, 3)
    cuts = [Cut(State.NO_REGION), Cut(State.COMPARED, crop, box), Cut(None), Cut(State.COMPARED, crop, box)]
    vectors = [np.array([1, 0], np.float32), np.array([np.nan, 0], np.float32)]
    none, good, away, bad = found_of(cuts, vectors)
    assert away is None
    assert good is not None
    assert good.box == Box(float(np.float32(1 / 3)), 1, 2, 3)
    assert [f.state for f in (none, good, bad) if f] == [State.NO_REGION, State.COMPARED, State.NO_REGION]
