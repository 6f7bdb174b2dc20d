"""Lines of text are found wherever they stand; what only resembles them is not."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.overlays import fonts, objects, text
from tests.overlays.exam import draw_exam
from wristmir_ray.imaging.burned_in import find_text
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.phantom.render import FULL

PLAIN = draw_exam(1, 5, with_text=False, most_objects=0)
SANS = fonts.DEVELOPED["DejaVu Sans"]
LINE = ["MUSTERFRAU, ERIKA 12.03.2009"]


def _score(pixels: np.ndarray) -> float:
    return max((line.score for line in find_text(pixels)), default=0.0)


def _ground() -> np.ndarray:
    """A smooth ground with noise: grey from air to bone."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(300, 3000, 600)[None, :] + rng.normal(0, 25, (500, 600))
    return np.clip(ramp, 0, FULL).astype(np.uint16)


def _with(
    lines: list[str],
    cap_px: int,
    level: int = FULL,
    at: tuple[int, int] = (40, 60),
    turns: int = 0,
    face: fonts.Face = SANS,
) -> np.ndarray:
    pixels = _ground()
    mask = np.rot90(text.block(lines, face, cap_px), turns)
    y, x = at
    share = mask / 255
    part = pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
    part[:] = np.round(
        part * (1 - share[: part.shape[0], : part.shape[1]]) + level * share[: part.shape[0], : part.shape[1]]
    )
    return pixels


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("level", [0, FULL])
@pytest.mark.parametrize("cap_px", [8, 14, 24])
def test_text_is_found_in_every_direction_size_and_polarity(cap_px: int, level: int, turns: int) -> None:
    at = (40, 250) if turns % 2 == 0 and level == 0 else (10, 300)
    lines = ["Erika", "12.03.09"] if cap_px == 24 else ["Musterfrau, E", "12.03.2009"]
    pixels = _with(lines, cap_px, level, at, turns)
    found = find_text(pixels)
    assert found[0].score > 0.5
    x0, y0, x1, y1 = found[0].box
    assert at[1] - 3 <= x0 < x1
    assert at[0] - 3 <= y0 < y1


@pytest.mark.parametrize("name", list(fonts.DEVELOPED | fonts.HELD_OUT))
def test_fonts(name: str) -> None:
    pixels = _with(["Musterfrau, Erika", "ID 0047112"], 13, face=(fonts.DEVELOPED | fonts.HELD_OUT)[name])
    assert _score(pixels) > 0.5


@pytest.mark.parametrize("word", ["L", "R", "R AB", "L 7", "RK", "L ABC"])
@pytest.mark.parametrize("cap_px", [14, 26, 48])
def test_markers_are_no_reason(word: str, cap_px: int) -> None:
    assert _score(_with([word], cap_px, face=fonts.STAMPED["bold"])) < 0.5


@pytest.mark.parametrize("word", ["Irgendwer", "47110", "1.2.2009"])
def test_a_single_word_of_five_is_enough(word: str) -> None:
    assert _score(_with([word], 16)) > 0.5


def test_an_empty_ground_holds_nothing() -> None:
    assert _score(_ground()) < 0.1
    assert _score(PLAIN.pixels) < 0.5


@pytest.mark.parametrize("shape", [(32, 32), (33, 400), (5, 7)])
def test_small_images(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    find_text(rng.integers(0, FULL, shape).astype(np.uint16))
    find_text((np.arange(shape[0] * shape[1]).reshape(shape) % 7).astype(np.uint8))


def test_inversion_and_windows_change_little() -> None:
    pixels = _with(LINE, 12)
    plain = _score(pixels)
    assert plain > 0.9
    for other in (
        FULL - pixels,
        (pixels >> 4).astype(np.uint8),
        (pixels.astype(np.int32) - 2048).astype(np.int16),
        pixels * 16,
        (np.sqrt(pixels / FULL) * 255).astype(np.uint8),
        np.clip((pixels.astype(np.float64) - 200) / 3200 * 255, 0, 255).astype(np.uint8),
    ):
        assert abs(_score(other) - plain) < 0.1, other.dtype


def test_one_hot_pixel_hides_nothing() -> None:
    pixels = _with(LINE, 12)
    pixels[3, 3] = 65535
    assert _score(pixels) > 0.9


def test_half_the_size_again_for_large_detectors() -> None:
    large = cv2.resize(_with(LINE, 14), None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
    assert _score(np.minimum(large, FULL)) > 0.5


@pytest.mark.parametrize("kind", ["wires", "plate", "wedge", "splint", "shutter", "grid", "marker", "arrow"])
def test_hardware_is_no_text(kind: str) -> None:
    fired = 0
    for seed in range(6):
        grey = objects.OBJECTS[kind](PLAIN.pixels.astype(np.float32) / PLAIN.pixels.max(), np.random.default_rng(seed))
        fired += _score((np.clip(grey, 0, 1) * FULL).astype(np.uint16)) >= 0.5
    assert fired <= 1, kind


def test_real_radiographs_and_the_same_with_text(real_data: Path) -> None:
    for file in sorted((real_data / "grazpedwri").glob("*.png")):
        stored = decode(file.read_bytes(), DecodeConfig()).stored
        assert _score(stored) < 0.5, file.name
        pixels = stored >> 4 if stored.dtype == np.uint16 else stored.astype(np.uint16) << 4
        for seed in range(4):
            burned = text.burn_in(pixels, np.random.default_rng(seed), fonts.HELD_OUT, text.HELD_OUT_LAYOUTS)
            assert _score(burned.pixels) > 0.5, (file.name, burned.face, burned.layout, burned.style, burned.cap_px)
