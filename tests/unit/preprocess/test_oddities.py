"""What is no upright picture of one wrist gets a code, and an ordinary wrist is looked at once."""

from collections.abc import Sequence

import numpy as np
import pytest

from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import ErrorCode
from wristmir_ray.models.detector import Detection
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.regions import extract_regions

CONFIG = RegionConfig()
R, U = Region.DISTAL_RADIUS, Region.DISTAL_ULNA


class Wrists:
    """Finds a wrist wherever a square of 100 px is bright; a spot of 255 at its upper left says which way is up."""

    digest = "wrists"
    typical_scores = dict.fromkeys(Region, 1.0)

    def __init__(self) -> None:
        self.looks = 0

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        self.looks += len(images)
        return [
            [
                Detection(Region.WRIST, Box(x, y, x + 100, y + 100), 0.9 - x / 1000)
                for y in range(0, image.shape[0] - 99, 100)
                for x in range(0, image.shape[1] - 99, 100)
                if image[y : y + 100, x : x + 100].mean() > 100
            ]
            for image in images
        ]


class Forearms:
    """Finds radius and ulna with a score that hangs on which way is up; none where `bare`."""

    digest = "forearms"
    typical_scores = dict.fromkeys(Region, 1.0)

    def __init__(self, bare: bool = False) -> None:
        self._bare = bare

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        def score(image: np.ndarray) -> float:
            half = len(image) // 2
            return 0.9 if image[:half].mean() < image[half:].mean() else 0.3

        if self._bare:
            return [[] for _ in images]
        pair = ((R, Box(5, 50, 45, 99)), (U, Box(55, 50, 95, 99)))
        return [[Detection(region, box, score(image)) for region, box in pair] for image in images]


def wrist(upright: bool = True) -> np.ndarray:
    """uint8 (100, 100): dark fingers above, bright forearm below."""
    one = np.full((100, 100), 140, np.uint8)
    one[50:] = 220
    return one if upright else np.ascontiguousarray(one[::-1])


def code(gray: np.ndarray, bare: bool = False) -> ErrorCode | None:
    found = extract_regions(gray, Wrists(), Forearms(bare), CONFIG)
    assert len({r.error for r in found}) == 1 or found[0].error is None, "all four say the same"
    return found[0].error


def test_an_upright_wrist_is_looked_at_once() -> None:
    wrists = Wrists()
    assert extract_regions(wrist(), wrists, Forearms(), CONFIG)[0].error is None
    assert wrists.looks == 1


def test_fingers_that_point_down() -> None:
    assert code(wrist(upright=False)) == ErrorCode.UPSIDE_DOWN


def test_what_is_no_wrist_either_way_is_not_upside_down() -> None:
    """A lateral view, say: a little surer when it is turned, but never sure."""

    class Doubtful(Forearms):
        def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
            return [[Detection(d.region, d.box, d.score * 0.6) for d in found] for found in super().detect(images)]

    found = extract_regions(wrist(upright=False), Wrists(), Doubtful(), CONFIG)
    assert {r.error for r in found} == {ErrorCode.NOT_WRIST}


def test_neither_radius_nor_ulna() -> None:
    assert code(wrist(), bare=True) == ErrorCode.NOT_WRIST


def test_a_trace_of_a_forearm_is_none() -> None:
    """Either way up the bones are as uncertain: neither upside-down nor a wrist."""
    assert code(np.full((100, 100), 180, np.uint8)) == ErrorCode.NOT_WRIST


def test_a_weak_detector_is_sure_at_low_scores() -> None:
    weak = Forearms()
    weak.typical_scores = dict.fromkeys(Region, 0.3)
    faint = np.full((100, 100), 180, np.uint8)
    assert extract_regions(faint, Wrists(), weak, CONFIG)[0].error is None
    assert code(faint) == ErrorCode.NOT_WRIST


def test_no_wrist_either_way_up() -> None:
    assert code(np.zeros((100, 100), np.uint8)) == ErrorCode.NO_WRIST


@pytest.mark.parametrize("between", [0, 100])
def test_two_wrists_beside_each_other(between: int) -> None:
    both = np.hstack([wrist(), np.zeros((100, between), np.uint8), wrist()])
    assert code(both) == ErrorCode.TWO_WRISTS


def test_a_second_box_without_a_forearm_is_none() -> None:
    hand = wrist(upright=False)
    assert code(np.hstack([wrist(), hand])) is None
