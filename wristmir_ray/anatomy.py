"""The words every room shares: regions, sides, views, fracture types, boxes."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Region(StrEnum):
    """What is cropped, captioned and embedded: the whole wrist and three bones (WristMIR §2.2)."""

    WRIST = "wrist"
    DISTAL_RADIUS = "distal_radius"
    DISTAL_ULNA = "distal_ulna"
    ULNAR_STYLOID = "ulnar_styloid"

    @property
    def words(self) -> str:
        """The region as prose, e.g. `distal radius`."""
        return self.value.replace("_", " ")


BONES = (Region.DISTAL_RADIUS, Region.DISTAL_ULNA, Region.ULNAR_STYLOID)
"""The three bones, in the order of the bone detector's classes."""


class Side(StrEnum):
    """Laterality of a wrist."""

    LEFT = "left"
    RIGHT = "right"


class View(StrEnum):
    """Projection. Only PA (and AP, which shows the same) is kept (WristMIR §2.1)."""

    PA = "pa"
    LATERAL = "lateral"
    OBLIQUE = "oblique"


class Sex(StrEnum):
    """Patient's sex as the header or the table gives it."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"


class Presence(StrEnum):
    """What a report says of a fracture in one region."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"


class FractureType(StrEnum):
    """Fracture morphology; `unknown` where the report names none."""

    SALTER_HARRIS_I = "salter_harris_i"
    SALTER_HARRIS_II = "salter_harris_ii"
    SALTER_HARRIS_III = "salter_harris_iii"
    SALTER_HARRIS_IV = "salter_harris_iv"
    SALTER_HARRIS_V = "salter_harris_v"
    SALTER_HARRIS = "salter_harris"
    """Salter-Harris without a grade, as in the paper's own example caption (App. H.1)."""
    BUCKLE = "buckle"
    TRANSVERSE = "transverse"
    OBLIQUE = "oblique"
    GREENSTICK = "greenstick"
    COMMINUTED = "comminuted"
    AVULSION = "avulsion"
    INCOMPLETE = "incomplete"
    PLASTIC_BOWING = "plastic_bowing"
    UNKNOWN = "unknown"


class Displacement(StrEnum):
    """How far the fragments have moved; `unknown` where the report is silent."""

    NONE = "none"
    MINIMAL = "minimal"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"
    PRESENT = "present"
    """Displaced, degree not stated."""
    UNKNOWN = "unknown"


class Healing(StrEnum):
    """Stage of healing; `unknown` where the report is silent."""

    ACUTE = "acute"
    HEALING = "healing"
    HEALED = "healed"
    NONUNION = "nonunion"
    UNKNOWN = "unknown"


class Split(StrEnum):
    """Patient-disjoint parts of an archive."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Box:
    """Axis-aligned box: xyxy in pixels, half-open, origin top-left."""

    x0_px: float
    y0_px: float
    x1_px: float
    y1_px: float

    @property
    def width_px(self) -> float:
        return self.x1_px - self.x0_px

    @property
    def height_px(self) -> float:
        return self.y1_px - self.y0_px

    @property
    def area_px2(self) -> float:
        return max(self.width_px, 0.0) * max(self.height_px, 0.0)

    def iou(self, other: Self) -> float:
        """Return intersection over union with `other`, in [0, 1]; 0 for two empty boxes."""
        overlap = type(self)(
            max(self.x0_px, other.x0_px),
            max(self.y0_px, other.y0_px),
            min(self.x1_px, other.x1_px),
            min(self.y1_px, other.y1_px),
        )
        inside = overlap.area_px2 if overlap.width_px > 0 and overlap.height_px > 0 else 0.0
        union = self.area_px2 + other.area_px2 - inside
        return inside / union if union > 0 else 0.0

    def clip(self, rows: int, cols: int) -> Self:
        """Return the part of the box that lies inside an image of `rows` x `cols` pixels."""
        return type(self)(
            min(max(self.x0_px, 0.0), cols),
            min(max(self.y0_px, 0.0), rows),
            min(max(self.x1_px, 0.0), cols),
            min(max(self.y1_px, 0.0), rows),
        )

    def shift(self, dx_px: float, dy_px: float) -> Self:
        """Return the box moved by (dx, dy) pixels."""
        return type(self)(self.x0_px + dx_px, self.y0_px + dy_px, self.x1_px + dx_px, self.y1_px + dy_px)
