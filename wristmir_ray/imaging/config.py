"""What may be tuned about pixels. One EnhanceConfig serves training, indexing and queries alike."""

import re
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from wristmir_ray.config import Section


class DecodeConfig(Section):
    """How stored bytes become an 8-bit radiograph, and which of them are refused."""

    max_pixels: int = Field(
        64 * 2**20,
        ge=1,
        description="pixels an image may have: 8192 x 8192, above any flat panel (about 4300 x 4300); "
        "read from the header before any decoder allocates",
    )
    min_side_px: int = Field(32, ge=1, description="shortest side: less is an icon or a test object, not a radiograph")
    low_percentile: float = Field(0.5, ge=0, lt=50, description="becomes black where no window is declared")
    high_percentile: float = Field(99.5, gt=50, le=100, description="becomes white where no window is declared")
    percentile_stride: int = Field(4, ge=1, description="every n-th row and column is enough for a percentile")
    colour_tolerance: int = Field(
        2, ge=0, description="largest difference of channels in a grey image stored as RGB (JPEG rounds its chroma)"
    )
    modalities: tuple[str, ...] = Field(
        ("CR", "DX", "RG", "DR"),
        description="DICOM modalities that hold radiographs; add OT for scanned films, RF or XA for C-arms",
    )
    body_parts: re.Pattern[str] = Field(
        re.compile(
            r".*(WRIST|HAND|FOREARM|RADIUS|ULNA|CARP).*|(UP|UPPER)?(EXTREMITY|EXM|LIMB)|EXTREMITIES|ARM|[RL]?(RAD|UPEX)"
        ),
        description="body parts that may show a wrist: matched whole against the upper-case letters of the header",
    )


class Identifier(StrEnum):
    """Kinds of direct identifiers in a header; `imaging.identifiers` lists the attributes of each."""

    PATIENT_NAME = "patient_name"
    RELATIVE = "relative"
    STAFF = "staff"
    """Physicians, operators, readers, writers."""
    BIRTH_DATE = "birth_date"
    CONTACT = "contact"
    """Addresses, telephone numbers, mail."""
    OTHER_ID = "other_id"
    COMMENT = "comment"
    INSTITUTION_ADDRESS = "institution_address"
    INSTITUTION_NAME = "institution_name"
    PRIVATE = "private"
    BURNED_IN = "burned_in"
    """BurnedInAnnotation, where it says YES."""


class DeidConfig(Section):
    """What sends an image to quarantine. The default suits an archive that is said to be de-identified."""

    quarantine: tuple[Identifier, ...] = Field(
        tuple(k for k in Identifier if k is not Identifier.INSTITUTION_NAME),
        description="kinds of attributes that quarantine; a hospital's name alone is kept by many archives "
        "(PS3.15 E.3.7), so institution_name is to be asked for",
    )
    ignore: tuple[str, ...] = Field((), description="DICOM keywords let through, e.g. [ImageComments]")
    private_groups: tuple[Annotated[str, AfterValidator(str.upper)], ...] = Field(
        (), description="odd groups, e.g. ['0009'], in which any value quarantines; what others hold is not known"
    )
    dummies: re.Pattern[str] = Field(
        re.compile(
            r"(ANON|DE-?ID(?!R)|PSEUDO|PHANTOM|DUMMY|REDACT|REMOVED|DELETED|UNKNOWN|NOT? ?(NAME|GIVEN|KNOWN|SPEC|AVAIL)"
            r"|N/A\b|(TEST|PATIENT|SUBJECT|CASE|NAME|NONE|NULL|NIL|NO|X+)(?![^\W\d_])).*"
        ),
        description="values that de-identification leaves behind: matched from the start, upper case",
    )
    burned_in_text: bool = Field(True, description="look for lines of small letters or figures in the pixels")
    min_score: float = Field(0.5, ge=0, le=1, description="a line of at least this score is text")


class EnhanceConfig(Section):
    """Contrast and sharpness (WristMIR §2.2 names the two steps and none of their parameters)."""

    clahe_clip_limit: float = Field(
        2.0,
        gt=0,
        le=40,
        description="limit of a tile's histogram over the flat one: 2 lifts trabeculae, above 3 noise shows",
    )
    clahe_grid: int = Field(
        8, ge=1, le=64, description="tiles a side: one tile is about a metaphysis wide on a whole wrist"
    )
    unsharp_sigma_px: float = Field(
        1.5, gt=0, le=50, description="Gaussian of the blurred copy: about 0.2 mm at 0.144 mm a pixel, a cortical edge"
    )
    unsharp_amount: float = Field(
        0.6, ge=0, le=5, description="weight of the difference: edges gain, halos stay below CLAHE's own contrast"
    )
