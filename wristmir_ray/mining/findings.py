"""The structured record of one report: what every engine gives (WristMIR §2.3).

Bounded, closed vocabularies, no unknown field; a validation error never shows its input.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from wristmir_ray.anatomy import BONES, Displacement, FractureType, Healing, Presence, Side, View

MAX_REPORT_BYTES = 100_000
MAX_FINDINGS = 64
MAX_EVIDENCE = 64
MAX_QUOTE = 2_000

Quote = Annotated[str, StringConstraints(min_length=1, max_length=MAX_QUOTE)]


class Place(StrEnum):
    """Where a finding sits: the three bones that are cropped, and what else a wrist report names."""

    DISTAL_RADIUS = "distal_radius"
    DISTAL_ULNA = "distal_ulna"
    ULNAR_STYLOID = "ulnar_styloid"
    RADIAL_STYLOID = "radial_styloid"
    SCAPHOID = "scaphoid"
    CARPALS = "carpals"
    METACARPALS = "metacarpals"
    FOREARM = "forearm"
    """Radius or ulna, proximal to their distal ends."""

    @property
    def words(self) -> str:
        """The place as prose, e.g. `ulnar styloid`."""
        return self.value.replace("_", " ")


CROPPED = tuple(Place(r.value) for r in BONES)
"""The places that have a crop of their own, in the order of `anatomy.BONES`."""


class Alignment(StrEnum):
    """Alignment of the fragments as the report grades it."""

    ANATOMIC = "anatomic"
    NEAR_ANATOMIC = "near_anatomic"
    ACCEPTABLE = "acceptable"
    POOR = "poor"


class Ossification(StrEnum):
    """How far ossification has come for the age, or a variant of it that can pass for a fracture (an ossicle)."""

    NORMAL = "normal"
    DELAYED = "delayed"
    ADVANCED = "advanced"
    VARIANT = "variant"


class Other(StrEnum):
    """What a report states beside fractures, bone quality, casts and hardware."""

    SOFT_TISSUE_SWELLING = "soft_tissue_swelling"
    EFFUSION = "effusion"
    FAT_PAD_SIGN = "fat_pad_sign"
    DISLOCATION = "dislocation"
    """Also subluxation, and a joint that is too wide."""
    FOREIGN_BODY = "foreign_body"
    BONE_LESION = "bone_lesion"
    """A cyst, a tumour, a fibroma, a bone island."""
    GROWTH_ARREST = "growth_arrest"
    RACHITIC_CHANGE = "rachitic_change"
    ARTHROPATHY = "arthropathy"
    MADELUNG_DEFORMITY = "madelung_deformity"
    POSITIVE_ULNAR_VARIANCE = "positive_ulnar_variance"
    NEGATIVE_ULNAR_VARIANCE = "negative_ulnar_variance"


Direction = Literal["dorsal", "volar", "radial", "ulnar"]
SectionKind = Literal[
    "findings", "impression", "addendum", "body", "indication", "history", "comparison", "technique",
    "procedure", "recommendation",
]  # fmt: skip
Field_ = Literal[
    "region", "side", "presence", "fracture_type", "displacement", "angulation_direction", "angulation_deg",
    "alignment", "healing", "physis_involved", "views", "bone_quality", "immobilisation", "hardware",
    "ossification", "other",
]  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Evidence(_Strict):
    """A verbatim quote for one field: `report[start:end] == quote`; start = -1 where it was not found."""

    field: Field_
    quote: Quote
    start: int = Field(ge=-1, le=MAX_REPORT_BYTES)
    end: int = Field(ge=-1, le=MAX_REPORT_BYTES)
    section: SectionKind


class Finding(_Strict):
    """One statement about a fracture in one place; a field is `unknown` or null where the report is silent."""

    region: Place
    side: Side | None = None
    presence: Presence
    fracture_type: FractureType = FractureType.UNKNOWN
    displacement: Displacement = Displacement.UNKNOWN
    angulation_direction: Direction | None = None
    angulation_deg: float | None = Field(None, ge=0, le=180)
    alignment: Alignment | None = None
    healing: Healing = Healing.UNKNOWN
    physis_involved: bool | None = None
    evidence: tuple[Evidence, ...] = Field((), max_length=MAX_EVIDENCE)

    @property
    def grounded(self) -> bool:
        """Whether a quote in the report carries both the place and what is said of it."""
        found = {e.field for e in self.evidence if e.start >= 0}
        return {"region", "presence"} <= found


class Record(_Strict):
    """What one report says."""

    side: Literal["left", "right", "bilateral"] | None = None
    views: tuple[View, ...] = Field((), max_length=3)
    bone_quality: Literal["normal", "osteopenia"] | None = None
    immobilisation: Literal["cast", "splint", "none"] | None = None
    hardware: bool | None = None
    ossification: Ossification | None = None
    other: tuple[Other, ...] = Field((), max_length=len(Other))
    findings: tuple[Finding, ...] = Field((), max_length=MAX_FINDINGS)
    evidence: tuple[Evidence, ...] = Field((), max_length=MAX_EVIDENCE)

    def present(self) -> tuple[Finding, ...]:
        """Return the findings that are there for certain."""
        return tuple(f for f in self.findings if f.presence is Presence.PRESENT)

    @property
    def is_silent(self) -> bool:
        """Whether the report says no more than what was imaged: neither a finding nor a denial."""
        said = (getattr(self, n) for n in RECORD_FIELDS if n not in {"side", "views", "evidence"})
        return all(value in (None, ()) for value in said)


RECORD_FIELDS = tuple(Record.model_fields)
EXAM_FIELDS = tuple(n for n in RECORD_FIELDS if n not in {"findings", "evidence"})
"""The fields that are said of the exam as a whole."""
