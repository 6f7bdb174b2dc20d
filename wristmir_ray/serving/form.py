"""The form of a search over HTTP: what stands in it, and that all stands in it."""

from typing import Annotated, Self

from fastapi import Request, UploadFile
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from wristmir_ray.serving import api, problems
from wristmir_ray.serving.problems import ProblemError

_NO_FIELDS = "parameters of a search are fields of the form, not of the address"
_NO_FORM = "send exactly one of image, exam_id, text and token as multipart/form-data; /v1/batch-search takes JSON"
_TWICE = "a field stands in the form twice; send each once"
_KINDS = ("multipart/form-data", "application/x-www-form-urlencoded")


async def form_alone(request: Request) -> None:
    """Refuse what would be passed over in silence, so that another bone than was meant were searched.

    Raises:
        ProblemError: (422) there are parameters in the address, a field stands in the form twice, or the body is none.
    """
    if request.scope["query_string"]:
        raise ProblemError(problems.problem(422, "invalid_request", _NO_FIELDS))
    if not request.headers.get("content-type", "").lower().startswith(_KINDS):
        raise ProblemError(problems.problem(422, "invalid_request", _NO_FORM))
    form = await request.form()  # it is read already
    if len(form.multi_items()) > len(form):
        raise ProblemError(problems.problem(422, "invalid_request", _TWICE))


def _file(given: object) -> object:
    if isinstance(given, str):
        raise PydanticCustomError("file", "send the file itself, with its name (curl: -F image=@FILE)")
    return given


class SearchForm(api.SearchParameters):
    """The form of a search: one query (image, exam_id or text) and how to search."""

    image: Annotated[UploadFile | None, BeforeValidator(_file)] = Field(
        None, description="a DICOM, PNG or JPEG radiograph, at most 64 MiB"
    )
    exam_id: api.ExamId | None = Field(None, description=api.OF_AN_EXAM)
    text: str | None = Field(None, min_length=1, max_length=2_000, description="a description, as a report has it")
    token: api.Token | None = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        api.check_one_query(self.image, self.exam_id, self.text, self.token)
        return self

    def parameters(self) -> api.SearchParameters:
        """Return how to search, without the query."""
        return api.SearchParameters(**{n: getattr(self, n) for n in api.SearchParameters.model_fields})
