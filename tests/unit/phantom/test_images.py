"""What is drawn: boxes, laterality, local fractures, and that the boxes cannot be guessed."""

import dataclasses

import numpy as np
import pytest

from tests.unit.phantom.samples import broken, case
from wristmir_ray.anatomy import BONES, Box, FractureType, Healing, Presence, Region, Side
from wristmir_ray.phantom.case import BoneFinding
from wristmir_ray.phantom.population import STYLOID_YEARS, TYPES, sample_cases
from wristmir_ray.phantom.render import FULL, render
from wristmir_ray.phantom.scene import Scene, build_scene

RADIUS, ULNA, STYLOID = BONES


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [build_scene(c, 0) for c in sample_cases(0, 150)]


def _in_image(scene: Scene, region: Region) -> np.ndarray:
    b = scene.boxes[region]
    return np.array([b.x0_px, b.y0_px, b.x1_px, b.y1_px]) / ([scene.cols, scene.rows] * 2)


def _in_wrist(scene: Scene, region: Region) -> np.ndarray:
    b, w = scene.boxes[region], scene.boxes[Region.WRIST]
    moved = b.shift(-w.x0_px, -w.y0_px)
    return np.array([moved.x0_px, moved.y0_px, moved.x1_px, moved.y1_px]) / ([w.width_px, w.height_px] * 2)


def _hits_of_mean_box(boxes: np.ndarray) -> float:
    """Share of boxes that their mean meets at IoU 0.5: its recall and precision, so its AP50 is no higher."""
    mean = Box(*boxes.mean(axis=0))
    return float(np.mean([mean.iou(Box(*b)) >= 0.5 for b in boxes]))


@pytest.mark.parametrize("region", Region)
def test_mean_box_in_the_image_is_no_detector(scenes: list[Scene], region: Region) -> None:
    assert _hits_of_mean_box(np.array([_in_image(s, region) for s in scenes if region in s.boxes])) < 0.6


@pytest.mark.parametrize("region", BONES)
def test_mean_box_in_the_wrist_is_no_detector(scenes: list[Scene], region: Region) -> None:
    assert _hits_of_mean_box(np.array([_in_wrist(s, region) for s in scenes if region in s.boxes])) < 0.6


def test_boxes_lie_in_the_image_and_hold_pixels(scenes: list[Scene]) -> None:
    for scene in scenes:
        for box in scene.boxes.values():
            assert box == box.clip(scene.rows, scene.cols)
            assert min(box.width_px, box.height_px) > 15
        wrist = scene.boxes[Region.WRIST]
        for bone in (RADIUS, ULNA):
            inside = scene.boxes[bone].clip(int(wrist.y1_px) + 12, int(wrist.x1_px) + 12)
            assert inside.area_px2 > 0.9 * scene.boxes[bone].area_px2


def test_styloid_is_the_ulnas_far_end_once_ossified(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert (STYLOID in scene.boxes) == (scene.case.age_years >= STYLOID_YEARS)
        if STYLOID not in scene.boxes:
            continue
        centre = {r: (b.x0_px + b.x1_px) / 2 for r, b in scene.boxes.items()}
        outward = 1 if scene.case.side == Side.RIGHT else -1
        assert outward * (centre[STYLOID] - centre[RADIUS]) > 0
        assert outward * (centre[ULNA] - centre[RADIUS]) > 0
        assert scene.boxes[STYLOID].iou(scene.boxes[ULNA]) > 0


def test_the_styloids_box_is_close_and_leaves_the_head_to_the_ulna(scenes: list[Scene]) -> None:
    shares = [s.boxes[STYLOID].area_px2 / s.boxes[ULNA].area_px2 for s in scenes if STYLOID in s.boxes]
    assert np.median(shares) < 0.12
    for scene in scenes:
        if STYLOID in scene.boxes:
            tips = [
                scene.to_px(scene.bones.ulna.parts[n]) for n in ("styloid", "fragment") if n in scene.bones.ulna.parts
            ]
            top = min(points[:, 1].min() for points in tips)
            assert -1 < max(top, 0) - scene.boxes[STYLOID].y0_px < 4


def test_a_faded_styloid_is_fainter_and_stays_where_it_is() -> None:
    made = [build_scene(case(patient=p), 0) for p in range(40)]
    faded = [any(m.filled for m in s.bones.ulna.marks) for s in made]
    assert 4 < sum(faded) < 22
    scene = made[faded.index(True)]
    pale = render(scene, 0).astype(int)
    scene.bones.ulna.marks = [m for m in scene.bones.ulna.marks if not m.filled]
    b = scene.boxes[STYLOID]
    change = (render(scene, 0).astype(int) - pale)[int(b.y0_px) : int(b.y1_px), int(b.x0_px) : int(b.x1_px)]
    assert change.mean() > 0.01 * FULL


def test_older_wrists_are_larger() -> None:
    widths = [build_scene(case(age_years=a), 0).boxes[RADIUS].width_px for a in (2.0, 7.0, 15.0)]
    assert widths[0] < 0.8 * widths[1] < 0.8 * widths[2]


def test_size_and_depth_of_pixels() -> None:
    scene = build_scene(case(), 0)
    pixels = render(scene, 0)
    assert pixels.dtype == np.uint16
    assert pixels.shape == (scene.rows, scene.cols)
    assert pixels.max() <= FULL
    assert np.percentile(pixels, 99) - np.percentile(pixels, 1) > FULL / 4


@pytest.mark.parametrize("region", BONES)
def test_a_fracture_changes_its_bone_and_little_else(region: Region) -> None:
    kind = FractureType.AVULSION if region == STYLOID else FractureType.TRANSVERSE
    intact, hurt = build_scene(case(), 0), build_scene(case(broken(region, kind)), 0)
    placed = dataclasses.replace(hurt, matrix=intact.matrix, rows=intact.rows, cols=intact.cols)
    changed = np.abs(render(placed, 0).astype(int) - render(intact, 0)) > FULL * 0.03
    assert 30 < changed.sum() < 0.06 * changed.size
    b = intact.boxes[region]
    inside = changed[int(b.y0_px) - 20 : int(b.y1_px) + 20, int(b.x0_px) - 20 : int(b.x1_px) + 20].sum()
    assert inside > 0.9 * changed.sum()


@pytest.mark.parametrize(
    ("region", "kind"), [(r, k) for r in BONES for k in TYPES[r]], ids=lambda v: str(getattr(v, "value", v))
)
def test_every_type_can_be_seen_at_every_stage(region: Region, kind: FractureType) -> None:
    intact = build_scene(case(), 0)
    bone = intact.boxes[region]
    before = render(intact, 0).astype(int)
    for healing in (Healing.ACUTE, Healing.HEALING, Healing.HEALED):
        hurt = build_scene(case(broken(region, kind, healing)), 0)
        placed = dataclasses.replace(hurt, matrix=intact.matrix, rows=intact.rows, cols=intact.cols)
        changed = np.abs(render(placed, 0) - before) > FULL * 0.03
        inside = changed[int(bone.y0_px) : int(bone.y1_px), int(bone.x0_px) : int(bone.x1_px)]
        assert inside.mean() > 0.003, healing


def test_a_toddler_with_every_finding_can_be_drawn() -> None:
    kinds = [broken(r, k) for r in BONES for k in TYPES[r]]
    assert render(build_scene(case(*kinds, age_years=0.6, cast=True), 0), 0).any()


def test_half_of_uncertain_findings_are_there() -> None:
    finding = BoneFinding(RADIUS, Presence.UNCERTAIN, FractureType.TRANSVERSE)
    cases = [case(finding, patient=p) for p in range(60)]
    drawn = [any(n.startswith("piece") for n in build_scene(c, 0).bones.radius.parts) for c in cases]
    assert 15 < sum(drawn) < 45


def test_cast_side_and_osteopenia_change_the_whole_picture() -> None:
    plain = render(build_scene(case(), 0), 0).astype(int)
    cast = render(build_scene(case(cast=True), 0), 0)
    pale = render(build_scene(case(osteopenia=True), 0), 0)
    mirrored = render(build_scene(case(side=Side.RIGHT), 0), 0)
    assert np.abs(cast - plain).mean() > 0.01 * FULL
    assert pale.mean() < plain.mean()
    assert mirrored.shape == plain.shape
    assert np.abs(mirrored - plain).mean() > 0.05 * FULL
