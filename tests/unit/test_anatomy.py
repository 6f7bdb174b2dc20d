"""Boxes: half-open, in pixels."""

from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import Box

coordinate = st.floats(-50, 150)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    x0, x1 = sorted([draw(coordinate), draw(coordinate)])
    y0, y1 = sorted([draw(coordinate), draw(coordinate)])
    return Box(x0, y0, x1, y1)


@given(boxes(), boxes())
def test_iou_is_symmetric_and_bounded(a: Box, b: Box) -> None:
    assert a.iou(b) == b.iou(a)
    assert 0 <= a.iou(b) <= 1 + 1e-9


def test_iou_of_known_boxes() -> None:
    assert Box(0, 0, 2, 2).iou(Box(1, 1, 3, 3)) == 1 / 7
    assert Box(0, 0, 2, 2).iou(Box(0, 0, 2, 2)) == 1
    assert Box(0, 0, 1, 1).iou(Box(1, 0, 2, 1)) == 0


@given(boxes())
def test_a_clipped_box_lies_inside(box: Box) -> None:
    inside = box.clip(100, 80)
    assert 0 <= inside.x0_px <= inside.x1_px <= 80
    assert 0 <= inside.y0_px <= inside.y1_px <= 100
