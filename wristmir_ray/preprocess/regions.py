"""One way from a radiograph to its wrist and bones, for archives and queries alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.errors import ErrorCode
from wristmir_ray.imaging.crop import crop, pad_square, resize_longer_side
from wristmir_ray.models.detector import Detector
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.looking import Each, Look, look_at, look_inside
from wristmir_ray.preprocess.oddities import find_oddity


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
        Four entries. Without a wrist, or in a picture of something else (`oddities`), all say why in one
        code; a bone that was not found says `no_region`.

    References:
        WristMIR §2.2, Fig. 1a.
    """
    return extract_batch([gray], [side], roi_detector, bone_detector, config)[0]


def extract_known(
    looks: Sequence[Look],
    sides: Sequence[Side | None],
    region: Region,
    bone_detector: Detector,
    config: RegionConfig,
) -> list[RegionCrop]:
    """Return one region of what `extract_regions` gave of radiographs, no oddities, from their stored wrist boxes on.

    Box and pixels are the same to the last bit: the box that detection reports is float32, as it is
    stored, and everything after it is the same code.

    Args:
        looks: of `looking.cut_known`, by the wrist boxes that `extract_regions` found.
        sides: one a radiograph.
        region: whose crops are wanted.
        bone_detector, config: as in `extract_regions`.

    Returns:
        A bone that was not found says `no_region`.

    References:
        WristMIR App. F, non-cached archives.
    """
    return [_crop_of(look, region, config) for look in look_inside(looks, sides, bone_detector, config)]


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

    looks = look_at(grays, sides, roi_detector, bone_detector, config, each)

    def again(gray: np.ndarray, side: Side | None) -> Look:
        return look_at([gray], [side], roi_detector, bone_detector, config)[0]

    codes = [find_oddity(gray, side, look, again, config) for gray, side, look in zip(grays, sides, looks, strict=True)]
    return list(each(partial(_four, config=config), looks, codes))


def _four(look: Look, code: ErrorCode | None, config: RegionConfig) -> list[RegionCrop]:
    if code is not None or look.wrist is None:
        return [RegionCrop(region, error=code or ErrorCode.NO_WRIST) for region in Region]
    return [_crop_of(look, region, config) for region in Region]


def _crop_of(look: Look, region: Region, config: RegionConfig) -> RegionCrop:
    """Return one region of a look that has a wrist."""
    assert look.wrist is not None
    assert look.roi is not None
    assert look.bounds is not None
    if region is Region.WRIST:
        return RegionCrop(region, look.wrist.box, look.wrist.score, _square(look.roi, config.crop_size))
    found = look.bones.get(region)
    if found is None:
        return RegionCrop(region, error=ErrorCode.NO_REGION)
    pixels = _square(crop(look.roi, found.box, config.margin(region)), config.crop_size)
    return RegionCrop(region, found.box.shift(look.bounds.x0_px, look.bounds.y0_px), found.score, pixels)


def _square(gray: np.ndarray, side_px: int) -> np.ndarray:
    """Shrink to at most `side_px`, then pad: the zeros stay zeros."""
    return pad_square(gray if max(gray.shape) <= side_px else resize_longer_side(gray, side_px))
