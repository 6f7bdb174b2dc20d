"""What a training leaves to look at."""

import cv2
import numpy as np

from wristmir_ray.anatomy import BONES, Box, Region
from wristmir_ray.detection.metrics import score
from wristmir_ray.detection.page import curves, table8, worst
from wristmir_ray.models.detector import Detection

RADIUS, ULNA, STYLOID = BONES
BOX = Box(10, 10, 40, 60)
IMAGES = [np.full((100, 80), 60, np.uint8)] * 3
TRUTH = [{RADIUS: [BOX]}, {RADIUS: [BOX]}, {}]
FOUND = [[Detection(RADIUS, BOX, 0.9)], [], [Detection(RADIUS, BOX, 0.3)]]
AGREEMENT = {"score": 1e-6, "edge_px": 1e-4, "images": 3.0}


def test_table_8_has_a_row_a_region_beside_the_papers() -> None:
    text = table8(score(FOUND, TRUTH, BONES), AGREEMENT, len(IMAGES))
    row = next(line for line in text.splitlines() if line.startswith("| distal radius"))
    assert row == "| distal radius | 2 | 1.000 | 0.500 | 0.667 | 0.505 | 0.977 | 1.000 | 0.988 | 0.995 |"
    assert "| ulnar styloid | 0 |" in text
    assert "other data" in text


def test_curves_are_a_picture() -> None:
    drawn = cv2.imdecode(np.frombuffer(curves(FOUND, TRUTH, BONES), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[2] == 3


def test_the_worst_images_come_first() -> None:
    sheet = worst(IMAGES, FOUND, TRUTH, dict.fromkeys(Region, 0.1))
    drawn = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR)
    first, second, third = (drawn[:256, 256 * i : 256 * (i + 1)].astype(int) for i in range(3))

    def shows(tile: np.ndarray, channel: int) -> bool:
        return bool((tile[..., channel] - tile.mean(axis=2) > 50).any())

    assert (shows(first, 2), shows(first, 1)) == (True, False), "missed: truth alone"
    assert (shows(second, 2), shows(second, 1)) == (False, True), "one too many: no truth"
    assert shows(third, 1)
