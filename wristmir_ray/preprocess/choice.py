"""Which of several candidates is the bone: a wrist has one radius, one ulna, one ulnar styloid."""

import math
from collections.abc import Mapping, Sequence

from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.models.detector import Detection
from wristmir_ray.preprocess.config import RegionConfig


def choose_bones(
    detections: Sequence[Detection], config: RegionConfig, side: Side | None = None
) -> dict[Region, Detection]:
    """Return the anatomically plausible best candidate of each bone that was found.

    1. Of radius and ulna, the one with the higher score takes its best candidate.
    2. The other takes its best candidate that is not the same bone again (IoU below `same_bone_iou`).
    3. The styloid is the ulna's tip: its best candidate that overlaps or touches the ulna's box grown
       by `styloid_reach`, and whose centre lies on the ulnar side of that box: away from the radius, or,
       where no radius was found, on the left of a left wrist and on the right of a right one (PA, fingers
       up); it may lie inwards of the box's middle by `styloid_inward`. Without an ulna it is the best candidate.

    A bone whose every candidate is implausible counts as not found.

    Args:
        detections: candidates in any order.
        config: reach and overlap.
        side: of the wrist, where it is known.
    """
    by_score = sorted(detections, key=lambda d: -d.score)
    of = {region: [d for d in by_score if d.region == region] for region in Region}
    chosen: dict[Region, Detection] = {}
    for d in by_score:
        if d.region in {Region.DISTAL_RADIUS, Region.DISTAL_ULNA} and d.region not in chosen:
            others = [c.box for c in chosen.values()]
            if all(d.box.iou(box) < config.same_bone_iou for box in others):
                chosen[d.region] = d
    styloid = next((d for d in of[Region.ULNAR_STYLOID] if _at_ulna(d, chosen, config, side)), None)
    return chosen if styloid is None else {**chosen, Region.ULNAR_STYLOID: styloid}


def _at_ulna(styloid: Detection, chosen: Mapping[Region, Detection], config: RegionConfig, side: Side | None) -> bool:
    ulna = chosen.get(Region.DISTAL_ULNA)
    if ulna is None:
        return True
    radius = chosen.get(Region.DISTAL_RADIUS)
    away_px = _outwards_px(styloid.box, ulna.box, radius.box if radius else None, side)
    outside = away_px is None or away_px >= -config.styloid_inward * ulna.box.width_px
    return outside and touches(styloid.box, grow(ulna.box, config.styloid_reach))


def _outwards_px(styloid: Box, ulna: Box, radius: Box | None, side: Side | None) -> float | None:
    """Return how far the styloid's centre lies to the ulnar side of the ulna's; None where no one knows the side."""
    dx, dy = _between(ulna, styloid)
    if radius is not None:
        ux, uy = _between(radius, ulna)
        length = math.hypot(ux, uy)
        return (dx * ux + dy * uy) / length if length else None
    return None if side is None else -dx if side is Side.LEFT else dx


def _between(a: Box, b: Box) -> tuple[float, float]:
    """Return the way from the centre of one box to that of another, px."""
    return (b.x0_px + b.x1_px - a.x0_px - a.x1_px) / 2, (b.y0_px + b.y1_px - a.y0_px - a.y1_px) / 2


def grow(box: Box, share: float) -> Box:
    """Return the box with `share` of its width (height) added left and right (above and below)."""
    dx, dy = share * box.width_px, share * box.height_px
    return Box(box.x0_px - dx, box.y0_px - dy, box.x1_px + dx, box.y1_px + dy)


def touches(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap or share an edge or a corner."""
    beside = a.x1_px < b.x0_px or b.x1_px < a.x0_px
    above = a.y1_px < b.y0_px or b.y1_px < a.y0_px
    return not (beside or above)
