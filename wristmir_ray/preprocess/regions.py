"""One way from a radiograph to its wrist and bones, for archives and queries alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.errors import ErrorCode
from wristmir_ray.imaging.crop import crop, crop_bounds, pad_square, resize_longer_side
from wristmir_ray.imaging.enhance import enhance
from wristmir_ray.models.detector import Detection, Detector
from wristmir_ray.preprocess.choice import choose_bones
from wristmir_ray.preprocess.config import RegionConfig

Each = Callable[..., Iterable[Any]]
"""Like `map`; a pool's `map` shares the work of a batch among threads."""


@dataclass(frozen=True, slots=True)
class RegionCrop:
    """One region of one radiograph: found with box and crop, or not found with a code."""

    region: Region
    box: Box | None = None
    """In pixels of the source image, without margin."""
    score: float | None = None
    crop: np.ndarray | None = None
    """uint8 (S, S), enhanced, zero-padded to a square, S <= crop_size."""
    error: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class _Wrist:
    """A found wrist, cut out with its margin and enhanced."""

    found: Detection
    bounds: Box
    roi: np.ndarray


def extract_regions(
    gray: np.ndarray,
    roi_detector: Detector,
    bone_detector: Detector,
    config: RegionConfig,
    side: Side | None = None,
) -> list[RegionCrop]:
    """Return the wrist and its three bones, in the order of `Region`.

    The best wrist box is cut with its margin and enhanced; the bones are looked for, and cut, in
    that enhanced image.

    Args:
        gray: uint8 (H, W) as `imaging.decode` gives it.
        roi_detector: finds the wrist in the whole image.
        bone_detector: finds bones in the enhanced wrist.
        config: margins, enhancement, crop size, what is plausible.
        side: of the wrist, where it is known: helps to tell which candidate is the styloid.

    Returns:
        Four entries. Without a wrist all say `no_wrist`; a bone that was not found says `no_region`.

    References:
        WristMIR §2.2, Fig. 1a.
    """
    return extract_batch([gray], [side], roi_detector, bone_detector, config)[0]


def extract_batch(
    grays: Sequence[np.ndarray],
    sides: Sequence[Side | None],
    roi_detector: Detector,
    bone_detector: Detector,
    config: RegionConfig,
    each: Each = map,
) -> list[list[RegionCrop]]:
    """Return `extract_regions` of each radiograph; both networks are given the whole batch, for a GPU.

    Args:
        grays: uint8 (H, W) each.
        sides: one a radiograph.
        roi_detector, bone_detector, config: as in `extract_regions`.
        each: does what is not a network's.
    """

    def cut(gray: np.ndarray, found: Sequence[Detection]) -> _Wrist | None:
        return _cut_wrist(gray, found, config)

    def finish(wrist: _Wrist | None, bones: Sequence[Detection], side: Side | None) -> list[RegionCrop]:
        return _four(wrist, bones, side, config)

    wrists = list(each(cut, grays, roi_detector.detect(grays)))
    found = iter(bone_detector.detect([wrist.roi for wrist in wrists if wrist]))
    return list(each(finish, wrists, [next(found) if wrist else [] for wrist in wrists], sides))


def _cut_wrist(gray: np.ndarray, found: Sequence[Detection], config: RegionConfig) -> _Wrist | None:
    wrists = [d for d in _sizable(found) if d.region == Region.WRIST]
    if not wrists:
        return None
    best = max(wrists, key=lambda d: d.score)
    bounds = crop_bounds(best.box, gray.shape[0], gray.shape[1], config.roi_margin)
    return _Wrist(best, bounds, enhance(crop(gray, best.box, config.roi_margin), config.enhance))


def _four(
    wrist: _Wrist | None, candidates: Sequence[Detection], side: Side | None, config: RegionConfig
) -> list[RegionCrop]:
    if wrist is None:
        return [RegionCrop(region, error=ErrorCode.NO_WRIST) for region in Region]
    bones = choose_bones(_sizable(candidates), config, side)
    out = [RegionCrop(Region.WRIST, wrist.found.box, wrist.found.score, _square(wrist.roi, config.crop_size))]
    for bone in BONES:
        found = bones.get(bone)
        if found is None:
            out.append(RegionCrop(bone, error=ErrorCode.NO_REGION))
        else:
            pixels = _square(crop(wrist.roi, found.box, config.bone_margin), config.crop_size)
            box = found.box.shift(wrist.bounds.x0_px, wrist.bounds.y0_px)
            out.append(RegionCrop(bone, box, found.score, pixels))
    return out


def _sizable(found: Sequence[Detection]) -> list[Detection]:
    """Drop boxes narrower than a pixel: they show nothing, and rounding can empty them."""
    return [d for d in found if min(d.box.width_px, d.box.height_px) >= 1]


def _square(gray: np.ndarray, side_px: int) -> np.ndarray:
    """Shrink to at most `side_px`, then pad: the zeros stay zeros."""
    return pad_square(gray if max(gray.shape) <= side_px else resize_longer_side(gray, side_px))
