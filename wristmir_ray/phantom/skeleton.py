"""The bones of an intact wrist by age, as outlines.

In the millimetres of a grown left hand seen from its back: x towards the thumb, y towards the
elbow, origin where the radius meets the carpus. `Skeleton.scale` shrinks it to the child's size.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from wristmir_ray.anatomy import Sex
from wristmir_ray.phantom import shapes
from wristmir_ray.phantom.population import PHYSIS_CLOSED_YEARS, STYLOID_YEARS

RADIUS_PHYSIS = 9.0
"""y of the radius' growth plate; the ulna's lies one lower, plus the ulnar variance."""


@dataclass
class Mark:
    """A local change of density: a line or an area that is darker or brighter than its bone."""

    points: np.ndarray
    """(n, 2): a polyline, or a polygon when `filled`."""
    strength: float
    """Factor - 1 on bone (-1 is a gap), or added bone in mm where `adds`."""
    width: float = 1.0
    blur: float = 0.3
    filled: bool = False
    adds: bool = False


@dataclass
class Bone:
    """One bone: parts that are drawn as one mask, and marks upon them."""

    parts: dict[str, np.ndarray]
    depth: float
    """Half thickness in mm: how far from its edge the bone gets thicker."""
    cortex: float
    medulla: float
    """Density of what the cortex encloses, cortex = 1."""
    shaft_y: float | None = None
    """Where a thick, dense cortex begins to replace the thin one of the bone's end."""
    marks: list[Mark] = field(default_factory=list)

    def move(self, names: tuple[str, ...], dx: float, dy: float, angle_deg: float, about: tuple[float, float]) -> None:
        """Shift and turn some parts."""
        for name in names:
            self.parts[name] = shapes.shift(shapes.turn(self.parts[name], angle_deg, about), dx, dy)


@dataclass
class Skeleton:
    """A wrist's bones, before and after they break."""

    radius: Bone
    ulna: Bone
    hand: list[Bone]
    scale: float
    ulna_physis: float
    physis_open: bool
    carpus: np.ndarray
    """(n, 2): outline points of the whole carpus, ossified or not."""

    @property
    def bones(self) -> list[Bone]:
        return [*self.hand, self.ulna, self.radius]

    def reshape(self, move: Callable[[np.ndarray], np.ndarray]) -> None:
        """Move every point of every outline: (n, 2) -> (n, 2)."""
        for bone in self.bones:
            bone.parts = {n: move(p) for n, p in bone.parts.items()}
            for mark in bone.marks:
                mark.points = move(mark.points)
        self.carpus = move(self.carpus)


def growth(age: float, sex: Sex) -> float:
    """Return the share of grown size at an age."""
    end = 15.0 if sex == Sex.FEMALE else 17.0
    grown = 0.93 if sex == Sex.FEMALE else 1.0
    return float(grown * (0.46 + 0.54 * min(age / end, 1.0) ** 0.95))


_RADIUS_SHAFT = (
    (8.6, -4.6, 22.4),
    (9.4, -6.0, 23.6),
    (11.0, -6.0, 23.4),
    (16.0, -4.4, 21.8),
    (22.0, -1.2, 20.0),
    (30.0, 1.6, 18.2),
    (42.0, 3.2, 16.8),
    (70.0, 3.4, 16.2),
    (110.0, 2.6, 16.6),
    (190.0, -1.0, 15.0),
    (330.0, -4.0, 14.0),
)
_RADIUS_EPIPHYSIS = (
    (-5.8, 8.0), (-6.3, 4.8), (-4.4, 2.4), (-1.0, 2.2), (2.0, 1.6), (7.0, 0.4), (12.0, -2.0), (16.5, -5.0),
    (19.5, -8.4), (21.8, -9.8), (23.8, -8.4), (24.8, -3.5), (24.6, 2.5), (23.6, 8.0),
)  # fmt: skip
_ULNA_SHAFT = (
    (-0.4, -23.6, -11.4),
    (0.4, -24.7, -10.4),
    (2.0, -24.8, -10.4),
    (7.0, -24.0, -11.6),
    (14.0, -22.6, -12.6),
    (27.0, -21.6, -12.8),
    (60.0, -21.8, -11.8),
    (100.0, -23.0, -10.6),
    (190.0, -26.0, -8.0),
    (330.0, -30.0, -9.0),
)
_ULNA_EPIPHYSIS = (
    (-24.6, -1.0), (-25.2, -3.4), (-24.8, -5.6), (-22.0, -7.0), (-19.0, -6.6), (-15.0, -7.4), (-11.6, -6.4),
    (-10.2, -3.2), (-10.6, -1.0),
)  # fmt: skip
_STYLOID = ((-25.3, -4.4), (-25.9, -8.0), (-25.0, -12.6), (-23.4, -13.0), (-22.2, -9.0), (-20.8, -5.4), (-22.5, -3.8))

_CARPALS = (  # x, y, half width, half height, tilt, age of ossification
    (1.5, -22.5, 6.8, 10.5, 4, 0.2),  # capitate
    (-9.5, -21.5, 7.6, 8.6, 18, 0.35),  # hamate
    (-16.5, -12.0, 6.2, 6.0, -25, 2.3),  # triquetrum
    (-4.0, -8.3, 7.6, 6.2, -12, 3.6),  # lunate
    (12.5, -13.0, 6.0, 10.2, -32, 4.8),  # scaphoid
    (20.5, -25.0, 6.6, 6.8, 25, 5.2),  # trapezium
    (12.5, -27.5, 5.4, 5.8, 0, 5.6),  # trapezoid
    (-18.0, -14.5, 3.8, 4.4, 0, 9.5),  # pisiform
)
_METACARPALS = (  # base, head, thumb last; half width of shaft
    ((10.0, -35.5), (17.5, -93.0), 4.3),
    ((0.5, -36.0), (2.0, -94.0), 4.2),
    ((-8.5, -33.5), (-13.0, -86.0), 3.6),
    ((-16.0, -30.5), (-26.0, -79.0), 3.6),
    ((25.0, -34.0), (46.0, -66.0), 4.8),
)


def build(age: float, sex: Sex, rng: np.random.Generator) -> Skeleton:
    """Return an intact wrist.

    Args:
        age: years; drives size, growth plates, and which bones are ossified.
        sex: girls are ahead and end smaller.
        rng: of the patient, so that the wrist is the same at every exam.
    """
    wide = rng.uniform(0.93, 1.07)
    variance = rng.normal(0.0, 1.2) + (0.6 if age < 8 else 0.0)
    bumps = rng.uniform(-0.06, 0.06, (8, 3))
    sizes = rng.uniform(0.93, 1.07, 8)
    medulla = rng.uniform(0.17, 0.27)
    ahead = age + (0.8 if sex == Sex.FEMALE else 0.0) + rng.normal(0, 0.4)
    closed = age >= PHYSIS_CLOSED_YEARS[sex] - 0.4
    gap = -1.2 if closed else float(np.interp(age, (0, 5, 11, 15, 17), (2.1, 1.4, 1.0, 0.75, 0.6)))
    ulna_physis = RADIUS_PHYSIS + 1.0 - variance
    skeleton = Skeleton(
        radius=_radius(ahead, gap, medulla),
        ulna=_ulna(age, ahead, gap, medulla, ulna_physis),
        hand=[*_carpals(ahead, bumps, sizes, medulla), *_metacarpals(age, medulla)],
        scale=growth(age, sex) * rng.uniform(0.95, 1.05),
        ulna_physis=ulna_physis,
        physis_open=not closed,
        carpus=np.concatenate([shapes.blob(x, y, rx, ry, t, np.zeros(1)) for x, y, rx, ry, t, _ in _CARPALS]),
    )
    skeleton.reshape(lambda points: points * (wide, 1.0))
    return skeleton


def _ossified(full: np.ndarray, share: float, centre: tuple[float, float]) -> np.ndarray:
    """Return an epiphysis that has grown to `share`: small and round first."""
    share = min(max(share, 0.12), 1.0)
    a = np.linspace(0, 2 * np.pi, len(full), endpoint=False) + np.arctan2(*(full[0] - centre)[::-1])
    size = np.ptp(full, axis=0) / 2 * (0.9, 0.62)
    turns = np.sign(_area(full)) * (a - a[0]) + a[0]
    disc = np.stack([size[0] * np.cos(turns), size[1] * np.sin(turns)], 1) + centre
    shape = share * full + (1 - share) * disc
    return np.asarray((shape - centre) * (0.28 + 0.72 * share, 0.4 + 0.6 * share) + centre)


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _rounded(points: np.ndarray) -> np.ndarray:
    """Return the polygon with its corners cut twice (Chaikin)."""
    for _ in range(2):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], 1).reshape(-1, 2)
    return points


def _radius(ahead: float, gap: float, medulla: float) -> Bone:
    parts = {"shaft": shapes.wavy(shapes.outline(_RADIUS_SHAFT), RADIUS_PHYSIS + 2, 0.45)}
    if ahead > 1.0:
        full = np.array(_RADIUS_EPIPHYSIS) - (0, gap - 1.0)
        parts["epiphysis"] = _rounded(_ossified(full, (ahead - 0.6) / 8.0, (9.5, 4.4 - gap / 2)))
    bone = Bone(parts, depth=6.6, cortex=1.25, medulla=medulla + 0.08, shaft_y=RADIUS_PHYSIS + 14)
    if gap < 0:
        scar = np.array([(-4.5, RADIUS_PHYSIS - 0.6), (8.0, RADIUS_PHYSIS - 1.4), (22.0, RADIUS_PHYSIS - 0.4)])
        bone.marks.append(Mark(scar, 0.22, width=0.7))
    return bone


def _ulna(age: float, ahead: float, gap: float, medulla: float, physis: float) -> Bone:
    down = np.array((0.0, physis))
    parts = {"shaft": shapes.wavy(shapes.outline(_ULNA_SHAFT), 2.0, 0.3) + down}
    if ahead > 5.6 or age >= STYLOID_YEARS:
        full = np.array(_ULNA_EPIPHYSIS) - (0, gap)
        parts["epiphysis"] = _rounded(_ossified(full, (ahead - 4.6) / 5.0, (-18.0, -3.8 - gap))) + down
    if age >= STYLOID_YEARS:
        grown = min(0.62 + 0.1 * (age - STYLOID_YEARS), 1.0)
        tip = (np.array(_STYLOID) - (-22.8, -4.4)) * (0.8 + 0.2 * grown, grown) + (-22.8, -4.4)
        parts["styloid"] = _rounded(tip - (0, gap * grown)) + down
    return Bone(parts, depth=5.4, cortex=1.15, medulla=medulla + 0.08, shaft_y=physis + 10)


def _carpals(ahead: float, bumps: np.ndarray, sizes: np.ndarray, medulla: float) -> list[Bone]:
    out = []
    for i, (x, y, rx, ry, tilt, starts) in enumerate(_CARPALS):
        if ahead > starts:
            share = 0.96 * sizes[i] * min(0.34 + 0.66 * ((ahead - starts) / (13.0 - starts)) ** 0.8, 1.0)
            polygon = shapes.blob(x, y, rx * share, ry * share, tilt, bumps[i] * share)
            out.append(Bone({"body": polygon}, depth=5.0 * share, cortex=0.9, medulla=medulla + 0.14))
    return out


def _metacarpals(age: float, medulla: float) -> list[Bone]:
    out = []
    for i, (base, head, half) in enumerate(_METACARPALS):
        ends = np.array((base, head))
        thumb = i == 4
        axis = ends if not thumb else np.array((base, (37.0, -49.0), head))
        shaft = shapes.tube(axis, (half * 1.6, half * 1.25, half * 0.85, half * 0.9, half * 1.25, half * 1.3))
        parts = {"shaft": shaft}
        along = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
        if age > 2.5:
            share = min(0.55 + 0.04 * age, 1.0)
            at = ends[1] + along * (3.2 if age < 15 else 1.5) if not thumb else ends[0] - along * 3.0
            tilt = float(np.degrees(np.arctan2(along[0], -along[1])))
            flat = 0.5 if thumb else 0.85
            parts["epiphysis"] = shapes.blob(at[0], at[1], half * 1.35 * share, half * flat * share, tilt, np.zeros(1))
        out.append(Bone(parts, depth=half, cortex=1.3, medulla=medulla))
        start = ends[1] + along * 8.0
        stop = start + along * 40.0
        phalanx = shapes.tube(np.array((start, stop)), (half * 1.5, half, half * 0.9, half * 1.1))
        out.append(Bone({"shaft": phalanx}, depth=half, cortex=1.2, medulla=medulla))
    return out
