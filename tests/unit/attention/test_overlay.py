"""Overlays: colour where there is evidence, the radiograph itself where there is none."""

import cv2
import numpy as np
import pytest

from wristmir_ray.attention.overlay import HEADER_PX, overlay, png_of, sheet

GRAY = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)


def test_no_evidence_no_colour() -> None:
    grey = np.repeat(GRAY[:, :, None], 3, 2)
    assert np.array_equal(overlay(GRAY, np.zeros((8, 8))), grey)
    assert np.array_equal(overlay(GRAY, -np.ones((8, 8))), grey)
    half = np.zeros((40, 40))
    half[:, 20:] = 2.0
    drawn = overlay(GRAY, half)
    assert np.array_equal(drawn[:, :20], grey[:, :20])
    assert (drawn[:, 20:, 0] != drawn[:, 20:, 2]).mean() > 0.9


def test_one_scale_makes_two_maps_comparable() -> None:
    weak = np.full((40, 40), 0.5)
    assert np.array_equal(overlay(GRAY, weak), overlay(GRAY, 2 * weak))
    assert not np.array_equal(overlay(GRAY, weak, 1.0), overlay(GRAY, 2 * weak, 1.0))
    with pytest.raises(ValueError, match="finite"):
        overlay(GRAY, np.full((2, 2), np.nan))


def test_a_sheet_has_a_row_an_exam_and_png_keeps_its_colours() -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[:, :, 0] = 255
    drawn = sheet([[GRAY, red], [GRAY, None]], ["exam", "map"], tile_px=20)
    assert drawn.shape == (HEADER_PX + 40, 40, 3)
    assert (drawn[HEADER_PX : HEADER_PX + 20, 20:] == (255, 0, 0)).all()
    assert not drawn[HEADER_PX + 20 :, 20:].any()
    back = cv2.imdecode(np.frombuffer(png_of(drawn), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    assert np.array_equal(back, drawn)
