"""What is asked over HTTP: a query, and how to search. `api` has it all."""

import base64
import datetime
import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Base64Encoder, BaseModel, BeforeValidator, ConfigDict, EncodedBytes, Field, model_validator
from pydantic_core import PydanticCustomError

from wristmir_ray.anatomy import FractureType, Region, Sex, Side, View

ExamId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$", description="id of one exam: 32 hex digits")]

Token = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200_000,
        description="of an unfinished answer: goes on with it; of the parameters beside it deadline_s alone counts",
    ),
]


class Shape(BaseModel):
    """A part of a request or an answer: frozen, no unknown member, input never printed in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Mode(StrEnum):
    """How candidates are ranked (WristMIR §3.2)."""

    TWO_STAGE = "two_stage"
    """Whole wrists choose the pool, the asked region orders it."""
    GLOBAL = "global"
    """Whole wrists alone."""
    REGION = "region"
    """The asked region alone, over the whole archive."""


OF_AN_EXAM = "an exam of the archive, by its id of 32 hex digits; no exam of its own patient is a hit"

MAX_DEADLINE_S = 15.0
"""Of a search: below the time after which the service gives a part of itself up."""


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _calendar_day(given: object) -> object:
    """Take no number for a date, which would be seconds since 1970."""
    if isinstance(given, datetime.date) or (isinstance(given, str) and _DAY.fullmatch(given)):
        return given
    raise PydanticCustomError("calendar_day", "a date is YYYY-MM-DD")


StudyDate = Annotated[datetime.date, BeforeValidator(_calendar_day)]


class Filters(Shape):
    """Which exams may be hits; what is left out does not restrict."""

    laterality: Side | None = Field(None, description="side of the wrist")
    view: View | None = Field(None, description="projection; ingest keeps PA alone, AP among it")
    sex: Sex | None = Field(None, description="patient's sex")
    age_min: float | None = Field(None, ge=0, le=130, allow_inf_nan=False, description="years, inclusive")
    age_max: float | None = Field(None, ge=0, le=130, allow_inf_nan=False, description="years, inclusive")
    date_from: StudyDate | None = Field(None, description="study date, inclusive")
    date_to: StudyDate | None = Field(None, description="study date, inclusive")
    fracture_type: FractureType | None = Field(None, description="of the asked region, as its report has it")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise ValueError("age_min must not exceed age_max")
        if self.date_from is not None and self.date_to is not None and self.date_from > self.date_to:
            raise ValueError("date_from must not be later than date_to")
        return self


class SearchParameters(Filters):
    """How to search; the query itself comes beside it."""

    region: Region = Field(Region.DISTAL_RADIUS, description="the bone whose likeness counts")
    mode: Mode = Field(Mode.TWO_STAGE, description="how candidates are ranked")
    pool: int = Field(100, ge=1, le=10_000, description="candidates that the first stage passes on")
    k: int = Field(10, ge=1, le=1_000, description="hits wanted")
    one_a_patient: bool = Field(False, description="of each patient the best hit alone")
    only_similar: bool = Field(
        False,
        description="no hits where the best is less like the query than all but a promised share of the archive's own "
        "exams are like another patient's. Calibrated for unfiltered searches at the index's pool; in an archive too "
        "small for that nothing is left out. Not for texts",
    )

    deadline_s: float | None = Field(
        None,
        gt=0,
        le=MAX_DEADLINE_S,
        description="seconds after which the best answer so far is given, where regions must be computed first; with a "
        "token to go on. Default: the service's",
    )

    @model_validator(mode="after")
    def _pool_holds_the_hits(self) -> Self:
        if self.mode is Mode.TWO_STAGE and self.pool < self.k:
            raise ValueError("pool must be at least k")
        if self.mode is Mode.TWO_STAGE and self.region is Region.WRIST:
            raise ValueError("two_stage needs a bone as region; for the whole wrist use mode=global")
        return self


class _StrictBase64(Base64Encoder):
    """Base64 in which no foreign letter is passed over."""

    @classmethod
    def decode(cls, data: bytes) -> bytes:
        try:
            return base64.b64decode(data, validate=True)
        except ValueError:
            raise PydanticCustomError("base64", "no base64") from None


class BatchQuery(SearchParameters):
    """A line of a batch: one query, and how to search."""

    id: str | None = Field(None, max_length=64, description="the caller's own label, given back with the answer")
    exam_id: ExamId | None = Field(None, description=OF_AN_EXAM)
    text: str | None = Field(None, min_length=1, max_length=2_000, description="a description, as a report has it")
    image: Annotated[bytes, EncodedBytes(encoder=_StrictBase64)] | None = Field(
        None, description="a whole DICOM, PNG or JPEG file in base64"
    )
    token: Token | None = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        check_one_query(self.image, self.exam_id, self.text, self.token)
        return self

    def parameters(self) -> SearchParameters:
        """Return how to search, without the query."""
        return SearchParameters(**{n: getattr(self, n) for n in SearchParameters.model_fields})


def check_one_query(*queries: object) -> None:
    """Raise ValueError unless exactly one query is given."""
    if sum(q is not None for q in queries) != 1:
        raise ValueError("give exactly one of image, exam_id, text and token")
