"""Detectors that have seen phantoms alone find wrist and bones of real children, where both are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from wristmir_ray.anatomy import BONES, Box, Region
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, Detector, load_detector
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.regions import extract_regions

pytestmark = pytest.mark.slow

OUTLINES = Path(__file__).parents[1] / "data" / "real_outlines.yaml"
TRUTH: dict[str, dict[Region, Box]] = {
    name: {Region(region): Box(*corners) for region, corners in outlined.items()}
    for name, outlined in yaml.safe_load(OUTLINES.read_text()).items()
}
LEAST_IOU = 0.4


@pytest.fixture(scope="module")
def detectors() -> tuple[Detector, Detector]:
    """Published detectors below WRISTMIR_ROBUST_ROOT, as README's "Detectors for real images" makes them."""
    root = os.environ.get("WRISTMIR_ROBUST_ROOT", "")
    if not root:
        pytest.skip("WRISTMIR_ROBUST_ROOT is not set: it names the root of detectors trained for a quarter of an hour")
    return load_detector(root, ROI_DETECTOR), load_detector(root, BONE_DETECTOR)


@pytest.fixture(scope="module", params=TRUTH, ids=lambda name: name[:4])
def radiograph(request: pytest.FixtureRequest, real_data: Path) -> tuple[np.ndarray, dict[Region, Box]]:
    path = real_data / "grazpedwri" / f"{request.param}.png"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return decode(path.read_bytes(), DecodeConfig()).gray, TRUTH[request.param]


def test_every_outlined_bone_is_found(
    radiograph: tuple[np.ndarray, dict[Region, Box]], detectors: tuple[Detector, Detector]
) -> None:
    gray, outlined = radiograph
    found = {r.region: r.box for r in extract_regions(gray, *detectors, RegionConfig())}
    overlaps = {r: 0.0 if (box := found[r]) is None else box.iou(outlined[r]) for r in BONES if r in outlined}
    assert min(overlaps.values()) >= LEAST_IOU, overlaps


def test_the_wrist_holds_its_bones_and_not_the_whole_picture(
    radiograph: tuple[np.ndarray, dict[Region, Box]], detectors: tuple[Detector, Detector]
) -> None:
    gray, outlined = radiograph
    wrist = extract_regions(gray, *detectors, RegionConfig())[0].box
    assert wrist is not None
    assert wrist.iou(outlined[Region.WRIST]) >= LEAST_IOU
    for bone in outlined.keys() - {Region.WRIST}:
        assert _share_inside(outlined[bone], wrist) > 0.85


def _share_inside(box: Box, other: Box) -> float:
    wide = min(box.x1_px, other.x1_px) - max(box.x0_px, other.x0_px)
    high = min(box.y1_px, other.y1_px) - max(box.y0_px, other.y0_px)
    return max(wide, 0.0) * max(high, 0.0) / box.area_px2
