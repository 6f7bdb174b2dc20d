"""How a fracture changes a bone: few millimetres, by type, displacement and healing.

Positions and sizes are in the grown-hand millimetres of `skeleton`.
"""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Region
from wristmir_ray.phantom import shapes
from wristmir_ray.phantom.case import BoneFinding
from wristmir_ray.phantom.skeleton import RADIUS_PHYSIS, Bone, Mark, Skeleton

OFFSET_MM = {
    Displacement.NONE: 0.0,
    Displacement.MINIMAL: 0.9,
    Displacement.MILD: 1.8,
    Displacement.MODERATE: 3.2,
    Displacement.SEVERE: 5.0,
    Displacement.PRESENT: 2.4,
    Displacement.UNKNOWN: 0.5,
}
REMODELLED = 0.4
"""Share of a displacement that is left when healed."""
GAP = {Healing.ACUTE: -0.85, Healing.UNKNOWN: -0.85, Healing.HEALING: -0.4, Healing.HEALED: 0.0, Healing.NONUNION: -0.9}
"""Density of the fracture line."""


@dataclass(frozen=True)
class Site:
    """Where a long bone breaks, and what its two edges are there."""

    bone: Bone
    physis: float
    y: float
    left: float
    right: float
    outward: float
    """+1 when the distal piece shifts towards the thumb."""

    @property
    def width(self) -> float:
        return self.right - self.left


def draw(skeleton: Skeleton, finding: BoneFinding, order: int, rng: np.random.Generator) -> None:
    """Break a bone of `skeleton` in place.

    Args:
        skeleton: changed.
        finding: what to draw; its presence does not matter here.
        order: how many findings of this bone were drawn before; each further one lies closer to the elbow.
        rng: of the patient and the finding, so that it looks the same at the next exam.
    """
    if finding.region == Region.ULNAR_STYLOID:
        if "styloid" in skeleton.ulna.parts:
            _styloid(skeleton.ulna, finding, rng)
        return
    radius = finding.region == Region.DISTAL_RADIUS
    bone = skeleton.radius if radius else skeleton.ulna
    physis = RADIUS_PHYSIS if radius else skeleton.ulna_physis
    low, high = (5.0, 13.0) if order == 0 else (16.0, 19.0)
    y = physis + rng.uniform(low, high)
    left, right = shapes.span_at(bone.parts["shaft"], y)
    site = Site(bone, physis, y, left, right, 1.0 if rng.random() < 0.7 else -1.0)
    kind = finding.fracture_type
    if kind.startswith("salter"):
        _salter_harris(site, finding, rng)
    elif kind == FractureType.BUCKLE:
        _buckle(site, finding, rng)
    elif kind in {FractureType.GREENSTICK, FractureType.INCOMPLETE, FractureType.PLASTIC_BOWING}:
        _one_cortex(site, finding, rng)
    else:
        _across(site, finding, rng)


def _jagged(a: tuple[float, float], b: tuple[float, float], rough: float, rng: np.random.Generator) -> np.ndarray:
    at = np.linspace(0, 1, 9)[:, None]
    line = np.array(a) * (1 - at) + np.array(b) * at
    line[1:-1] += rng.uniform(-rough, rough, (7, 2))
    return line


def _distal(bone: Bone) -> tuple[str, ...]:
    return tuple(n for n in bone.parts if n != "shaft")


def _offset(finding: BoneFinding) -> float:
    """Return how far the pieces lie apart sideways, mm."""
    return OFFSET_MM[finding.displacement] * (REMODELLED if finding.healing == Healing.HEALED else 1.0)


def _shift(site: Site, dx: float, dy: float, angle_deg: float) -> None:
    """Move everything beyond the fracture, earlier marks included."""
    pivot = ((site.left + site.right) / 2, site.y)
    site.bone.move(_distal(site.bone), dx, dy, angle_deg, pivot)
    for mark in site.bone.marks:
        mark.points = shapes.shift(shapes.turn(mark.points, angle_deg, pivot), dx, dy)


def _split(site: Site, a: tuple[float, float], b: tuple[float, float], name: str) -> None:
    """Cut the shaft along a line; the piece that holds its distal end becomes part `name`."""
    one, other = shapes.cut(site.bone.parts["shaft"], a, b)
    if not (len(one) and len(other)):
        return  # an earlier fracture has taken this part of the shaft
    distal, shaft = (one, other) if one[:, 1].mean() < other[:, 1].mean() else (other, one)
    site.bone.parts[name], site.bone.parts["shaft"] = distal, shaft


def _across(site: Site, finding: BoneFinding, rng: np.random.Generator) -> None:
    """Transverse, oblique, comminuted and unnamed fractures: a line from cortex to cortex with a step."""
    kind = finding.fracture_type
    steep = {FractureType.OBLIQUE: rng.uniform(0.65, 0.95), FractureType.UNKNOWN: rng.uniform(-0.2, 0.2)}
    slope = steep.get(kind, rng.uniform(-0.1, 0.1)) * site.outward
    middle = (site.left + site.right) / 2
    rise = slope * (site.width / 2 + 1)
    a, b = (site.left - 1, site.y - rise), (site.right + 1, site.y + rise)
    _split(site, a, b, f"piece{len(site.bone.parts)}")
    offset = _offset(finding) * rng.uniform(0.85, 1.15)
    named = kind != FractureType.UNKNOWN
    offset = max(offset, 0.5) if named else 0.7 * offset
    tilt = rng.uniform(0.5, 1.6) * offset * site.outward
    _shift(site, site.outward * offset, slope * site.outward * offset + (0.4 * offset if offset > 2 else 0.0), tilt)
    gap = GAP[finding.healing]
    line = shapes.shift(_jagged(a, b, 0.55, rng), site.outward * offset / 2, 0)
    site.bone.marks.append(Mark(line, gap if named else 0.75 * gap, width=1.5 if named else 1.0))
    if kind == FractureType.COMMINUTED:
        for side in (-1, 1):
            end = (middle + side * site.width / 2, site.y + 7.0)
            site.bone.marks.append(Mark(_jagged((middle, site.y), end, 0.4, rng), gap, width=1.0))
        shard = shapes.blob(site.right + 1.5, site.y + 2.0, 1.4, 2.6, 20, np.zeros(1))
        site.bone.parts[f"shard{len(site.bone.parts)}"] = shard
    _healing(site, finding.healing, line, offset)


def _buckle(site: Site, finding: BoneFinding, rng: np.random.Generator) -> None:
    """A torus: the cortex bulges on both sides (one more than the other) over a denser band."""
    amount = rng.uniform(2.0, 2.8) * (0.55 if finding.healing == Healing.HEALED else 1.0)
    strong = rng.choice((-1.0, 1.0))
    for points in site.bone.parts.values():
        side = np.sign(points[:, 0] - (site.left + site.right) / 2)
        share = np.where(side == strong, 1.0, 0.6)
        points[:, 0] += side * share * amount * np.exp(-(((points[:, 1] - site.y) / 1.7) ** 2))
    ends = (site.left - 1.5, site.y), (site.right + 1.5, site.y)
    line = _jagged(*ends, 0.3, rng)
    site.bone.marks.append(Mark(line, 0.5, width=1.8, blur=0.7))
    site.bone.marks.append(Mark(shapes.shift(line, 0, 2.2), -0.22, width=1.2, blur=0.5))
    if finding.healing in {Healing.HEALING, Healing.HEALED}:
        _healing(site, finding.healing, line, 0.0)


def _one_cortex(site: Site, finding: BoneFinding, rng: np.random.Generator) -> None:
    """Greenstick: one cortex gapes and the bone bends. Incomplete: a line that ends half way."""
    bends = finding.fracture_type != FractureType.INCOMPLETE
    reach = 0.62 if bends else 0.5
    edge = site.left if site.outward > 0 else site.right
    inner = edge + site.outward * reach * site.width
    if bends:
        _split(site, (site.left - 1, site.y), (site.right + 1, site.y), f"piece{len(site.bone.parts)}")
        angle = rng.uniform(6.0, 10.0) + 0.8 * OFFSET_MM[finding.displacement]
        _shift(site, 0.0, 0.0, site.outward * angle)
    gap = GAP[finding.healing]
    if finding.fracture_type != FractureType.PLASTIC_BOWING and gap < 0:
        mouth = 1.6 if bends else 0.9
        start = edge - site.outward * 0.8
        wedge = np.array([(start, site.y - mouth), (inner, site.y), (start, site.y + mouth)])
        site.bone.marks.append(Mark(wedge, gap, filled=True))
        site.bone.marks.append(Mark(_jagged((start, site.y), (inner, site.y), 0.4, rng), gap, width=1.0))
    _healing(site, finding.healing, _jagged((site.left, site.y), (site.right, site.y), 0.4, rng), 0.0)


def _salter_harris(site: Site, finding: BoneFinding, rng: np.random.Generator) -> None:
    """Fractures of the growth plate: wider or narrower plate, shifted epiphysis, corner or split."""
    bone, kind, gap = site.bone, finding.fracture_type, GAP[finding.healing]
    left, right = shapes.span_at(bone.parts["shaft"], site.physis + 1.5)
    offset = min(_offset(finding) + 0.5, 3.8) * rng.uniform(0.9, 1.1)
    moved = [n for n in bone.parts if n != "shaft"]
    corner = kind in {FractureType.SALTER_HARRIS_II, FractureType.SALTER_HARRIS, FractureType.SALTER_HARRIS_IV}
    middle = left + (right - left) * rng.uniform(0.42, 0.58)
    edge = right if site.outward > 0 else left
    lines = []
    if corner or "epiphysis" not in bone.parts:
        end = (edge + site.outward, site.physis + rng.uniform(7.0, 9.5))
        one, other = shapes.cut(bone.parts["shaft"], (middle, site.physis - 0.5), end)
        if len(one) and len(other):
            bone.parts["corner"], bone.parts["shaft"] = sorted((one, other), key=lambda p: float(np.ptp(p[:, 1])))
            moved.append("corner")
        lines.append(_jagged((middle, site.physis), end, 0.4, rng))
    if kind in {FractureType.SALTER_HARRIS_III, FractureType.SALTER_HARRIS_IV}:
        lines.append(_jagged((middle, site.physis - 12), (middle + 0.8, site.physis), 0.5, rng))
    wider = -0.7 if kind == FractureType.SALTER_HARRIS_V else 1.5 if kind == FractureType.SALTER_HARRIS_I else 1.1
    healed = finding.healing in {Healing.HEALED, Healing.HEALING}
    wider *= 0.4 if healed else 1.0
    bone.move(tuple(moved), site.outward * offset, -wider, site.outward * offset * 1.2, (middle, site.physis))
    bone.marks += [Mark(shapes.shift(x, site.outward * offset / 2, -wider / 2), gap, width=1.5) for x in lines]
    plate = np.array([(left, site.physis + 1.2), (middle, site.physis + 1.4), (right, site.physis + 1.2)])
    if kind == FractureType.SALTER_HARRIS_V or healed:
        bone.marks.append(Mark(plate, 0.55, width=2.0, blur=0.6))
    low = Site(bone, site.physis, site.physis + 5.5, left, right, site.outward)
    _healing(low, finding.healing, shapes.shift(plate, 0, 3.0), offset)


def _healing(site: Site, stage: Healing, line: np.ndarray, offset: float) -> None:
    """Callus around the cortex and a dense band while it heals; a thick cortex when healed."""
    if stage == Healing.NONUNION:
        site.bone.marks += [Mark(shapes.shift(line, 0, dy), 0.45, width=1.2, blur=0.3) for dy in (-1.6, 1.6)]
    if stage not in {Healing.HEALING, Healing.HEALED}:
        return
    fresh = stage == Healing.HEALING
    site.bone.marks.append(Mark(line, 0.5 if fresh else 0.28, width=3.2, blur=1.1))
    thin = min(max(site.width / 24, 0.6), 1.0)  # a thin bone forms less of it
    size = (3.0 * thin, 6.5 * thin) if fresh else (1.6 * thin, 6.0 * thin)
    for edge, side in ((site.left, -1), (site.right, 1)):
        cloud = shapes.blob(
            edge + side * (0.6 if fresh else 0.1), site.y, size[0] + 0.25 * offset, size[1], 0, np.zeros(1)
        )
        site.bone.marks.append(Mark(cloud, 4.2 if fresh else 2.6, blur=0.9, filled=True, adds=True))


def _styloid(ulna: Bone, finding: BoneFinding, rng: np.random.Generator) -> None:
    """A fragment off the ulnar styloid: its tip torn away, or its base broken."""
    tip = ulna.parts["styloid"]
    top, bottom = tip[:, 1].min(), tip[:, 1].max()
    avulsed = finding.fracture_type == FractureType.AVULSION
    y = top + (bottom - top) * (rng.uniform(0.45, 0.6) if avulsed else rng.uniform(0.66, 0.8))
    left, right = shapes.span_at(tip, y)
    one, other = shapes.cut(tip, (left - 1, y), (right + 1, y))
    fragment, stump = (one, other) if one[:, 1].mean() < other[:, 1].mean() else (other, one)
    offset = min(_offset(finding), 3.0) * 0.6
    healed = finding.healing == Healing.HEALED
    apart = 0.2 if healed else (1.5 if avulsed else 0.9) + 0.5 * offset
    ulna.parts["styloid"], ulna.parts["fragment"] = stump, fragment
    ulna.move(("fragment",), -0.5 * offset, -apart, rng.uniform(-25, 10), (left, y))
    line = np.array([(left - 1.2, y - apart / 2), (right + 1.2, y - apart / 2)])
    faint = finding.fracture_type == FractureType.UNKNOWN
    gap = GAP[finding.healing] * (0.8 if faint else 1.0)
    if gap:
        ulna.marks.append(Mark(line, gap, width=max(apart, 1.0) if not faint else 1.0, blur=0.2))
    if finding.healing in {Healing.HEALING, Healing.HEALED}:
        cloud = shapes.blob(float(line[:, 0].mean()), y - apart / 2, 2.6, 2.2, 0, np.zeros(1))
        ulna.marks.append(Mark(cloud, 3.0 if not healed else 1.8, blur=0.7, filled=True, adds=True))
