"""How one child's wrist differs from another's of the same age: shapes and densities no growth chart tells.

Detectors that learn on phantoms alone must find the bones of children; so phantoms differ from each
other by more than they differ from a child (domain randomisation, Tobin et al. 2017).
"""

import numpy as np

from wristmir_ray.phantom import shapes
from wristmir_ray.phantom.skeleton import Bone, Mark, Skeleton

KERNEL_SHARE = 0.25
"""Wrists whose styloid is not fused with the head: an own centre of ossification."""
FADED_SHARE = 0.3
"""Wrists whose styloid is thin or not yet dense: it takes less of the beam than the head beside it."""
_WAVES = 8
_LENGTHS_MM = (14.0, 60.0)
_STEEPNESS = 0.10
"""Largest slope that one wave gives the warp: all together fold no outline."""
_ALONG = 0.35
"""Share of the warp that acts along the forearm: growth plates stay where fractures look for them."""


def vary(wrist: Skeleton, rng: np.random.Generator) -> None:
    """Change an intact wrist: its ulnar head and styloid, its carpals, its densities, every outline a little."""
    _ulnar_head(wrist.ulna, rng)
    _carpals(wrist.hand, rng)
    thin, dense = rng.uniform(0.5, 1.15), rng.uniform(0.0, 0.3)
    for bone in wrist.bones:
        bone.cortex *= thin
        bone.medulla += dense
    if wrist.physis_open:
        for bone in (wrist.radius, wrist.ulna):
            _calcify(bone, rng)
    wrist.reshape(_Warp(rng))


def fade(ulna: Bone, rng: np.random.Generator) -> None:
    """Make the styloid, and a fragment of it, fainter than the head."""
    strength, blur = -rng.uniform(0.15, 0.65), rng.uniform(0.2, 0.8)
    if rng.random() < FADED_SHARE:
        tips = [ulna.parts[n] for n in ("styloid", "fragment") if n in ulna.parts]
        ulna.marks += [Mark(tip, strength, blur=blur, filled=True) for tip in tips]


def _calcify(bone: Bone, rng: np.random.Generator) -> None:
    """Draw the zone of provisional calcification: a dense line where the shaft meets the growth plate."""
    shaft = bone.parts["shaft"]
    end = shaft[shaft[:, 1] < shaft[:, 1].min() + 1.2]
    line = end[np.argsort(end[:, 0])] + (0.0, 0.4)
    bone.marks.append(Mark(line, rng.uniform(0.0, 0.6), width=rng.uniform(0.6, 1.3)))


def _ulnar_head(ulna: Bone, rng: np.random.Generator) -> None:
    """Make the head flat or domed, the styloid a spike, a knob, or a round kernel beside the head."""
    tall = rng.uniform(0.9, 1.5)
    broad, long, lean = rng.uniform(0.8, 1.9), rng.uniform(0.65, 1.1), rng.normal(0, 0.25)
    kernel = rng.random() < KERNEL_SHARE
    (rx, ry), aside = rng.uniform(1.6, 4.0, 2), rng.uniform(-1.0, 2.5, 2)
    if (head := ulna.parts.get("epiphysis")) is not None:
        foot = head[:, 1].max()
        ulna.parts["epiphysis"] = np.stack([head[:, 0], foot + (head[:, 1] - foot) * tall], 1)
    if (tip := ulna.parts.get("styloid")) is not None:
        foot = tip[:, 1].max()
        side = tip[:, 0].min()
        rise = (tip[:, 1] - foot) * long
        x = side + (tip[:, 0] - side) * broad + rise * lean
        ulna.parts["styloid"] = np.stack([x, foot + rise - (tall - 1) * 3.0], 1)
        if kernel:
            x, y = ulna.parts["styloid"].mean(axis=0) + aside * (-0.5, 1.0)
            ulna.parts["styloid"] = shapes.blob(x, y, rx, ry, rng.uniform(0, 180), rng.uniform(-0.06, 0.06, 3))


def _carpals(hand: list[Bone], rng: np.random.Generator) -> None:
    """Let the carpals stand closer or further apart."""
    grown = rng.uniform(0.97, 1.22)
    for bone in hand:
        if "body" in bone.parts:
            body = bone.parts["body"]
            bone.parts["body"] = body.mean(axis=0) + (body - body.mean(axis=0)) * grown


class _Warp:
    """A smooth displacement of the plane: plane waves of random direction and length."""

    def __init__(self, rng: np.random.Generator) -> None:
        short, long = np.log(_LENGTHS_MM)
        lengths = np.exp(rng.uniform(short, long, _WAVES))
        angles = rng.uniform(0, 2 * np.pi, _WAVES)
        self._waves = np.stack([np.cos(angles), np.sin(angles)]) * 2 * np.pi / lengths
        self._phases = rng.uniform(0, 2 * np.pi, _WAVES)
        reach = rng.uniform(0, _STEEPNESS, (_WAVES, 2)) * lengths[:, None] / (2 * np.pi)
        self._reach = reach * (1.0, _ALONG)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return np.asarray(points + np.sin(points @ self._waves + self._phases) @ self._reach)
