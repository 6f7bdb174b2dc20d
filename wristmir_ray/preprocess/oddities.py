"""Pictures that are no upright radiograph of one wrist, told by their pixels; headers and tables are ingest's.

Detectors know single upright wrists alone, so what they see in another picture is uncertain, or too
much. Only then is it looked at a second time.
"""

from collections.abc import Callable

import numpy as np

from wristmir_ray.anatomy import Side
from wristmir_ray.errors import ErrorCode
from wristmir_ray.preprocess.config import RegionConfig
from wristmir_ray.preprocess.looking import Look

Again = Callable[[np.ndarray, Side | None], Look]
"""(radiograph, side) -> what the detectors see in it."""

MESSAGES = {
    ErrorCode.NO_WRIST: "no box of a wrist",
    ErrorCode.UPSIDE_DOWN: "the image is not upright: turn it until the fingers point up",
    ErrorCode.TWO_WRISTS: "the image shows two wrists: cut it in two",
    ErrorCode.NOT_WRIST: "the ends of radius and ulna are not in the image",
}

APART_IOU, LEAST_SHARE = 0.1, 0.25
"""A box of a second wrist overlaps the first by less, and has at least this share of its area: a child's two
wrists are of one size, but their collimation need not be."""


def find_oddity(
    gray: np.ndarray, side: Side | None, look: Look, again: Again, config: RegionConfig
) -> ErrorCode | None:
    """Return why a picture is none of one upright wrist, or None where it is.

    1. `upside_down`: radius and ulna are uncertain, and surer by `surer` once the picture is turned by 180
       degrees: a wrist's forearm then.
    2. `no_wrist`: there is no box of one.
    3. `not_wrist`: there is one, but hardly a radius and an ulna in it: a hand, the middle of a forearm.
    4. `two_wrists`: apart from the first there is a box of another, and once the first is painted out, radius
       and ulna of the other are as certain as a wrist's are.

    Args:
        gray: uint8 (H, W).
        side: of the wrist, where it is known.
        look: what the detectors see in it.
        again: looks at another picture.
        config: `present`, `certain`, `surer`.
    """
    if look.certainty < config.certain:
        turned = again(np.ascontiguousarray(gray[::-1, ::-1]), side)
        if turned.surest >= config.present and turned.certainty >= look.certainty + config.surer:
            return ErrorCode.UPSIDE_DOWN
    if look.wrist is None:
        return ErrorCode.NO_WRIST
    if look.surest < config.present:
        return ErrorCode.NOT_WRIST
    return ErrorCode.TWO_WRISTS if _has_second(gray, look, again, config) else None


def _has_second(gray: np.ndarray, look: Look, again: Again, config: RegionConfig) -> bool:
    first, *others = (d.box for d in look.wrists)
    if not any(b.iou(first) < APART_IOU and b.area_px2 >= LEAST_SHARE * first.area_px2 for b in others):
        return False
    rest = gray.copy()
    rest[int(first.y0_px) : int(np.ceil(first.y1_px)), int(first.x0_px) : int(np.ceil(first.x1_px))] = 0
    return again(rest, None).certainty >= config.certain
