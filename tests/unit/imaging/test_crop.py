"""Crops stay inside, padding is centred, PNG loses nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.unit.imaging import samples
from wristmir_ray.anatomy import Box
from wristmir_ray.imaging import crop as crops
from wristmir_ray.imaging.config import DecodeConfig, EnhanceConfig
from wristmir_ray.imaging.enhance import enhance

SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 60))
IMAGES = SHAPES.flatmap(lambda s: arrays(np.uint8, s))
EDGES = st.floats(-80, 140, allow_nan=False, width=32)


@given(IMAGES, EDGES, EDGES, EDGES, EDGES, st.floats(0, 2))
def test_crop_lies_inside(gray: np.ndarray, x0: float, y0: float, x1: float, y1: float, margin: float) -> None:
    box = Box(x0, y0, x1, y1)
    rows, cols = gray.shape
    try:
        bounds = crops.crop_bounds(box, rows, cols, margin)
    except ValueError:
        grown = Box(x0 - margin * (x1 - x0), y0 - margin * (y1 - y0), x1 + margin * (x1 - x0), y1 + margin * (y1 - y0))
        inside = grown.clip(rows, cols)
        assert box.width_px <= 0 or box.height_px <= 0 or inside.area_px2 == 0
        return
    cut = crops.crop(gray, box, margin)
    assert 0 <= bounds.x0_px < bounds.x1_px <= cols
    assert 0 <= bounds.y0_px < bounds.y1_px <= rows
    assert cut.shape == (bounds.height_px, bounds.width_px)
    assert (cut == gray[int(bounds.y0_px) : int(bounds.y1_px), int(bounds.x0_px) : int(bounds.x1_px)]).all()
    seen = box.clip(rows, cols)
    if seen.area_px2 > 0:
        assert bounds.x0_px <= seen.x0_px
        assert bounds.x1_px >= seen.x1_px
        assert bounds.y0_px <= seen.y0_px
        assert bounds.y1_px >= seen.y1_px


def test_margin_is_a_share_of_the_side() -> None:
    assert crops.crop_bounds(Box(40, 50, 60, 90), 200, 200, 0.25) == Box(35, 40, 65, 100)


@pytest.mark.parametrize(
    "box",
    [Box(5, 5, 5, 9), Box(9, 9, 5, 5), Box(float("nan"), 0, 5, 5), Box(0, 0, float("inf"), 5), Box(90, 90, 99, 99)],
)
def test_a_box_that_shows_nothing_is_an_error(box: Box) -> None:
    with pytest.raises(ValueError, match="box"):
        crops.crop(np.zeros((50, 50), np.uint8), box, 0.0)


@given(IMAGES)
def test_pad_square_keeps_the_image_in_the_middle(gray: np.ndarray) -> None:
    square = crops.pad_square(gray)
    side = max(gray.shape)
    top, left = crops.square_offset(*gray.shape)
    assert square.shape == (side, side)
    assert (square[top : top + gray.shape[0], left : left + gray.shape[1]] == gray).all()
    assert square.sum(dtype=np.int64) == gray.sum(dtype=np.int64)
    assert abs((side - gray.shape[0] - top) - top) <= 1
    assert abs((side - gray.shape[1] - left) - left) <= 1


@given(IMAGES)
def test_png_is_lossless(gray: np.ndarray) -> None:
    assert (crops.decode_png(crops.encode_png(gray)) == gray).all()


@pytest.mark.parametrize("data", [b"", b"no png"])
def test_not_a_png(data: bytes) -> None:
    with pytest.raises(ValueError, match="PNG"):
        crops.decode_png(data)


@given(IMAGES, st.integers(1, 90))
def test_resize_longer_side(gray: np.ndarray, side: int) -> None:
    out = crops.resize_longer_side(gray, side)
    assert max(out.shape) == side
    assert out.dtype == np.uint8


@given(IMAGES)
def test_enhance_keeps_shape_and_input(gray: np.ndarray) -> None:
    before = gray.copy()
    out = enhance(gray, EnhanceConfig())
    assert out.shape == gray.shape
    assert out.dtype == np.uint8
    assert (gray == before).all()


def test_enhance_raises_local_contrast_and_edges() -> None:
    gray = (samples.pixels(8, 256, 256) // 4 + 90).astype(np.uint8)
    flat = enhance(gray, EnhanceConfig(unsharp_amount=0))
    assert flat.std() > 1.2 * gray.std()
    edge = np.full((64, 64), 100, np.uint8)
    edge[:, 32:] = 150
    sharp = enhance(edge, EnhanceConfig(clahe_clip_limit=0.01))
    plain = enhance(edge, EnhanceConfig(clahe_clip_limit=0.01, unsharp_amount=0))
    assert int(sharp[32, 32]) - int(sharp[32, 31]) > int(plain[32, 32]) - int(plain[32, 31])
    assert sharp[32, 4] == plain[32, 4]


def test_version_changes_with_a_setting_and_only_then() -> None:
    assert crops.preprocess_version(EnhanceConfig()) == crops.preprocess_version(EnhanceConfig())
    assert crops.preprocess_version(EnhanceConfig()) != crops.preprocess_version(EnhanceConfig(unsharp_amount=0.5))
    assert crops.preprocess_version(DecodeConfig(), EnhanceConfig()) != crops.preprocess_version(EnhanceConfig())
