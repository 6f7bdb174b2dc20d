"""From a case to what lies on the detector: bones, their place in the image, true boxes. No pixels yet."""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.anatomy import BONES, Box, Presence, Region, Side
from wristmir_ray.phantom import fractures, shapes, skeleton
from wristmir_ray.phantom.case import Case
from wristmir_ray.phantom.variety import fade, vary

SPACING_MM = 0.144
"""Pixel spacing of nearly all GRAZPEDWRI-DX views."""

RADIUS_BOX_MM, ULNA_BOX_MM = 27.0, 24.0
"""How far below the growth plate the boxes of the bones reach (grown hand)."""

EDGE_MM = 0.3
"""How much wider than its outline a bone's box is: where the edge has faded. Context is preprocess' own margin."""

PARTED_MM, BASE_MM, TIP_MM = 0.8, 1.2, 3.0
"""The styloid's box holds what lies so far outside the ulna's dome and so much of the base below it, but at least so
much of the tip. Within the head nothing shows where a styloid begins: a box around all of it is learned too wide."""

WRIST_EDGE_MM, WRIST_BELOW_MM = 1.5, 5.0
"""How much wider than carpus and bones' boxes the wrist's box is, and how far below them it reaches (millimetres of the
child, not of a grown hand): a wrist that is found a little short must not cut its bones off."""

CUT_SHARE, CUT_CARPUS, CUT_FOREARM = 0.35, 0.25, 0.16
"""Exams whose field cuts some of the wrist's box off, and how much at most above and below."""

ROOM = (1.02, 1.2)
"""The narrowest fields, in widths of the wrist's box."""

TURN_DEG, TURN_MOST_DEG = 8.0, 20.0
"""How the forearm lies on the detector: standard deviation and most."""

_PATIENT, _POSE, _FRACTURE, _VARIETY, _FADING = 12, 13, 14, 17, 18
_BORDER_PX = 12


@dataclass(frozen=True)
class Scene:
    """Everything that decides the picture except exposure and noise."""

    case: Case
    bones: skeleton.Skeleton
    rows: int
    cols: int
    matrix: np.ndarray
    """(2, 3) affine: grown-hand millimetres -> pixels."""
    boxes: dict[Region, Box]

    @property
    def px_per_mm(self) -> float:
        """Pixels a grown-hand millimetre."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def to_px(self, points: np.ndarray) -> np.ndarray:
        """Return (n, 2) points in pixels (x, y)."""
        return np.asarray(points @ self.matrix[:, :2].T + self.matrix[:, 2])


def build_scene(case: Case, seed: int) -> Scene:
    """Return the scene of a case; the patient's wrist and fractures are the same at each exam, the pose is not."""
    wrist = skeleton.build(case.age_years, case.sex, np.random.default_rng((seed, _PATIENT, case.patient)))
    vary(wrist, np.random.default_rng((seed, _VARIETY, case.patient)))
    rng = np.random.default_rng((seed, _POSE, case.index))
    _break(wrist, case, seed)
    fade(wrist.ulna, np.random.default_rng((seed, _FADING, case.patient)))
    _pose_hand(wrist, rng)
    turn = np.clip(rng.normal(0, TURN_DEG), -TURN_MOST_DEG, TURN_MOST_DEG)
    zoom = wrist.scale * rng.uniform(0.92, 1.1) / SPACING_MM
    mirror = np.diag([1.0 if case.side == Side.LEFT else -1.0, 1.0])
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    linear = zoom * np.array([[c, -s], [s, c]]) @ mirror
    at_origin = Scene(case, wrist, 0, 0, np.c_[linear, np.zeros(2)], {})
    found = _boxes(at_origin)
    rows, cols, shift = _place(found[Region.WRIST], wrist.scale, rng)
    boxes = {r: b.shift(*shift).clip(rows, cols) for r, b in found.items()}
    return Scene(case, wrist, rows, cols, np.c_[linear, shift], boxes)


def _break(wrist: skeleton.Skeleton, case: Case, seed: int) -> None:
    """Draw the case's findings, growth plates first; half of the uncertain ones are there."""
    numbered = sorted(enumerate(case.findings), key=lambda f: not f[1].fracture_type.startswith("salter"))
    drawn = dict.fromkeys(Region, 0)
    for number, finding in numbered:
        own = np.random.default_rng((seed, _FRACTURE, case.patient, number))
        if finding.presence == Presence.PRESENT or own.random() < 0.5:
            fractures.draw(wrist, finding, drawn[finding.region], own)
            drawn[finding.region] += 1


def _pose_hand(wrist: skeleton.Skeleton, rng: np.random.Generator) -> None:
    """Bend the hand to the thumb or the little finger, and turn the forearm a little."""
    bend = float(np.clip(rng.normal(0, 6.0), -13, 13))
    slide = rng.normal(0, 0.9)
    for bone in wrist.hand:
        bone.move(tuple(bone.parts), 0.0, 0.0, bend, (0.0, -10.0))
    wrist.carpus = shapes.turn(wrist.carpus, bend, (0.0, -10.0))
    wrist.ulna.move(tuple(wrist.ulna.parts), slide, 0.0, 0.0, (0.0, 0.0))
    for mark in wrist.ulna.marks:
        mark.points = shapes.shift(mark.points, slide, 0.0)


def _place(wrist: Box, scale: float, rng: np.random.Generator) -> tuple[int, int, tuple[float, float]]:
    """Return rows, cols and the shift that puts the wrist box inside, anywhere that fits; some are cut.

    A small child's field is smaller, by less than the child.
    """
    rows = int(max(rng.integers(800, 1300) * (0.55 + 0.45 * scale), wrist.height_px * 1.12 + 2 * _BORDER_PX))
    cols = int(max(rows * rng.uniform(0.52, 0.88), wrist.width_px * rng.uniform(*ROOM) + 2 * _BORDER_PX))
    spare_x, spare_y = cols - wrist.width_px - 2 * _BORDER_PX, rows - wrist.height_px - 2 * _BORDER_PX
    x = _BORDER_PX + spare_x * rng.beta(1.6, 1.6)
    y = _BORDER_PX + spare_y * rng.beta(1.3, 1.7)
    if rng.random() < CUT_SHARE:
        above, below = (rng.uniform(0.05, most) * wrist.height_px for most in (CUT_CARPUS, CUT_FOREARM))
        y = -above if rng.random() < 0.5 else rows - wrist.height_px + below
    return rows, cols, (x - wrist.x0_px, y - wrist.y0_px)


def _boxes(scene: Scene) -> dict[Region, Box]:
    """Return true boxes in pixels; the styloid has none before it is ossified."""
    wrist = scene.bones
    radius, ulna, styloid = BONES
    ends = {
        radius: _upper(wrist.radius, skeleton.RADIUS_PHYSIS + RADIUS_BOX_MM),
        ulna: _upper(wrist.ulna, wrist.ulna_physis + ULNA_BOX_MM),
    }
    below = [shapes.shift(end, 0.0, WRIST_BELOW_MM / wrist.scale) for end in ends.values()]
    out = {Region.WRIST: _around(scene, np.concatenate([wrist.carpus, *ends.values(), *below]), WRIST_EDGE_MM)}
    out |= {bone: _around(scene, points, EDGE_MM) for bone, points in ends.items()}
    return out if "styloid" not in wrist.ulna.parts else {**out, styloid: _around(scene, _tip(wrist.ulna), EDGE_MM)}


def _tip(ulna: skeleton.Bone) -> np.ndarray:
    """Return the outline points of the styloid that are seen as its own: beyond the dome, a fragment whole."""
    parts = [shapes.dense(ulna.parts[n]) for n in ("styloid", "fragment") if n in ulna.parts]
    points = np.concatenate(parts)
    parted = shapes.outside(points, ulna.parts["epiphysis"]) > PARTED_MM
    lowest = points[parted, 1].max(initial=-np.inf) + BASE_MM
    return np.asarray(points[points[:, 1] <= max(lowest, points[:, 1].min() + TIP_MM)])


def _upper(bone: skeleton.Bone, limit: float) -> np.ndarray:
    """Return the outline points of a bone that lie nearer the hand than `limit`."""
    points = np.concatenate(list(bone.parts.values()))
    edges = [(x, limit) for x in shapes.span_at(bone.parts["shaft"], limit)]
    return np.concatenate([points[points[:, 1] < limit], np.array(edges)])


def _around(scene: Scene, points: np.ndarray, margin_mm: float) -> Box:
    px = scene.to_px(points)
    pad = margin_mm * scene.px_per_mm
    (x0, y0), (x1, y1) = px.min(axis=0) - pad, px.max(axis=0) + pad
    return Box(float(x0), float(y0), float(x1), float(y1))
