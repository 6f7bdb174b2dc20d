"""One look at a radiograph: the wrist is found, cut and enhanced, and its bones are found in that.

Batches pass through both networks whole, for a GPU.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.imaging.crop import crop, crop_bounds
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.models.detector import Detection, Detector
from wristmir_ray.preprocess.choice import choose_bones
from wristmir_ray.preprocess.config import RegionConfig

_FOREARM = (Region.DISTAL_RADIUS, Region.DISTAL_ULNA)

Each = Callable[..., Iterable[Any]]
"""Like `map`; a pool's `map` shares the work of a batch among threads."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the detectors see in one radiograph."""

    wrists: tuple[Detection, ...] = ()
    """All candidates, best score first; the first is the wrist."""
    bounds: Box | None = None
    """What was cut, px of the source image."""
    roi: np.ndarray | None = None
    """uint8 (h, w): the wrist with its margin, enhanced."""
    bones: Mapping[Region, Detection] = field(default_factory=dict)
    """The plausible bones, in pixels of `roi`."""
    certainty: float = 0.0
    """Of the forearm: mean score of radius and ulna, which every wrist has, as shares of what a true one typically
    scores; 0 for one that is not found."""
    surest: float = 0.0
    """The same of the surer of the two: one of them may be missed."""

    @property
    def wrist(self) -> Detection | None:
        return self.wrists[0] if self.wrists else None


def look_at(
    grays: Sequence[np.ndarray],
    sides: Sequence[Side | None],
    roi_detector: Detector,
    bone_detector: Detector,
    config: RegionConfig,
    each: Each = map,
) -> list[Look]:
    """Return one look a radiograph.

    Args:
        grays: uint8 (H, W) each.
        sides: of the wrists, where known.
        roi_detector: finds the wrist in the whole image.
        bone_detector: finds bones in the enhanced wrist.
        config: margins, enhancement, what is plausible.
        each: does what is not a network's.
    """

    def cut(gray: np.ndarray, found: Sequence[Detection]) -> Look:
        return _cut_wrist(gray, [d for d in _sizable(found) if d.region == Region.WRIST], config)

    def choose(look: Look, found: Sequence[Detection], side: Side | None) -> Look:
        return _with_bones(look, found, side, bone_detector, config)

    looks = list(each(cut, grays, roi_detector.detect(grays)))
    found = iter(bone_detector.detect([look.roi for look in looks if look.roi is not None]))
    return list(each(choose, looks, [next(found) if look.wrists else [] for look in looks], sides))


def cut_known(gray: np.ndarray, wrist: Box, config: RegionConfig) -> Look:
    """Return the look at a radiograph whose wrist is known, before its bones are looked for.

    Args:
        gray: uint8 (H, W).
        wrist: as `look_at` found it, and as REGIONS keep it.
        config: margins, enhancement.

    Raises:
        ValueError: the box lies outside the image.
    """
    return _cut_wrist(gray, [Detection(Region.WRIST, wrist, 1.0)], config)


def look_inside(
    looks: Sequence[Look], sides: Sequence[Side | None], bone_detector: Detector, config: RegionConfig
) -> list[Look]:
    """Return looks with their bones.

    Args:
        looks: of `cut_known`.
        sides: of the wrists, where known.
        bone_detector: finds bones in the enhanced wrists.
        config: what is plausible.
    """
    found = bone_detector.detect([look.roi for look in looks if look.roi is not None])
    return [_with_bones(*of, bone_detector, config) for of in zip(looks, found, sides, strict=True)]


def _with_bones(
    look: Look, found: Sequence[Detection], side: Side | None, bone_detector: Detector, config: RegionConfig
) -> Look:
    bones = choose_bones(_sizable(found), config, side)
    sure = [bones[r].score / bone_detector.typical_scores[r] if r in bones else 0.0 for r in _FOREARM]
    return replace(look, bones=bones, certainty=sum(sure) / len(sure), surest=max(sure))


def _cut_wrist(gray: np.ndarray, wrists: Sequence[Detection], config: RegionConfig) -> Look:
    if not wrists:
        return Look()
    best_first = tuple(sorted(wrists, key=lambda d: -d.score))
    box = best_first[0].box
    bounds = crop_bounds(box, gray.shape[0], gray.shape[1], config.roi_margin)
    return Look(best_first, bounds, enhance(crop(gray, box, config.roi_margin), config.enhance))


def _sizable(found: Sequence[Detection]) -> list[Detection]:
    """Drop boxes narrower than a pixel: they show nothing, and rounding can empty them."""
    return [d for d in found if min(d.box.width_px, d.box.height_px) >= 1]
