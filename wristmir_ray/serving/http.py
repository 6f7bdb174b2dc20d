"""The HTTP face: routes, the upload's form, limits, and errors as problem+json. No Ray."""

from typing import Annotated, Any, Self

from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import Field, model_validator
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wristmir_ray import __version__
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, batch, problems
from wristmir_ray.serving import meter as meters
from wristmir_ray.serving.access import Keys
from wristmir_ray.serving.guard import Guard
from wristmir_ray.serving.limits import Buckets, RateLimit
from wristmir_ray.serving.meter import Meter
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Graph, answer

MAX_UPLOAD_BYTES = 64 * 2**20
"""An uncompressed radiograph of the largest detectors has about 40 MB."""
MAX_BODY_BYTES = MAX_UPLOAD_BYTES + 64 * 2**10
"""The upload and the form's other fields."""

_TOO_LARGE = f"an upload has at most {MAX_UPLOAD_BYTES // 2**20} MiB"
_PROBLEM: dict[str, Any] = {"model": api.Problem}
_GUARDED: dict[int | str, dict[str, Any]] = {401: _PROBLEM, 403: _PROBLEM}
_LIMITED: dict[int | str, dict[str, Any]] = {429: _PROBLEM}
_LINES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {batch.MEDIA_TYPE: {"schema": {"type": "string", "description": "a `BatchQuery` in JSON a line"}}},
    }
}


class SearchForm(api.SearchParameters):
    """The form of a search: one query (image, exam_id or text) and how to search."""

    image: UploadFile | None = Field(None, description="a DICOM, PNG or JPEG radiograph, at most 64 MiB")
    exam_id: api.ExamId | None = None
    text: str | None = Field(None, min_length=1, max_length=2_000, description="a description, as a report has it")
    token: api.Token | None = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        api.check_one_query(self.image, self.exam_id, self.text, self.token)
        return self

    def parameters(self) -> api.SearchParameters:
        """Return how to search, without the query."""
        return api.SearchParameters(**{n: getattr(self, n) for n in api.SearchParameters.model_fields})


class BodyLimit:
    """ASGI middleware: ends a request whose body grows beyond `max_bytes`, declared or not."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, counting the bytes that come in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await problems.response(problems.problem(413, "upload_too_large", _TOO_LARGE))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, _TOO_LARGE)
            return message

        await self._app(scope, counted, send)


def create_http(graph: Graph, keys: Keys | None = None, limit: RateLimit | None = None) -> FastAPI:
    """Return the ASGI application.

    Args:
        graph: what answers.
        keys: whose requests are served; None: anyone's.
        limit: of one caller's requests; None: none.
    """
    meter = Meter()
    http = FastAPI(
        title="WristMIR retrieval",
        description="Finds the most similar earlier wrist radiographs, for one bone.",
        version=__version__,
        docs_url=None,  # its scripts would come from a foreign host
        redoc_url=None,
        responses={422: _PROBLEM, 503: _PROBLEM, **(_GUARDED if keys else {}), **(_LIMITED if limit else {})},
    )
    http.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    http.add_middleware(Guard, keys=keys, buckets=Buckets(limit) if limit else None, meter=meter)
    _add_problems(http)
    _add_search(http, graph, meter)
    _add_archive(http, graph)
    _add_health(http, graph, meter)
    _document_problems(http)
    return http


def _add_search(http: FastAPI, graph: Graph, meter: Meter) -> None:
    @http.post("/v1/search", tags=["search"], responses={404: _PROBLEM, 410: _PROBLEM, 413: _PROBLEM})
    async def search(
        form: Annotated[SearchForm, Form(media_type="multipart/form-data")],
    ) -> api.SearchAnswer:
        """Return the exams of the archive that are most like the query, best first.

        Where the archive computes regions as they are asked for, an answer may be unfinished at its deadline:
        `coverage` says how far it came, and `token` goes on.
        """
        image = await form.image.read(MAX_UPLOAD_BYTES + 1) if form.image else None
        if image is not None and len(image) > MAX_UPLOAD_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        found = await answer(graph, form.parameters(), image, form.exam_id, form.text, form.token)
        meter.answer(found)
        return found

    @http.post(
        "/v1/batch-search",
        tags=["search"],
        openapi_extra=_LINES,
        response_class=Response,
        responses={200: {"content": {batch.MEDIA_TYPE: {}}}, 413: _PROBLEM},
    )
    async def batch_search(request: Request) -> Response:
        """Take a query a line (`BatchQuery`), answer with a line each (`BatchAnswer`), as they are done.

        At most 64 MiB and 10,000 lines.
        """
        body = await request.body()
        if body.count(b"\n") > batch.MOST_LINES:
            raise ProblemError(
                problems.problem(413, "too_many_queries", f"a batch has at most {batch.MOST_LINES} lines")
            )
        lines = batch.answers(graph, body, meter)
        return StreamingResponse(lines, media_type=batch.MEDIA_TYPE)


def _add_archive(http: FastAPI, graph: Graph) -> None:
    @http.get("/v1/archives", tags=["archive"])
    async def archives() -> list[api.ArchiveSummary]:
        """Return what can be searched."""
        return [await graph.archive()]

    @http.get("/v1/exams/{exam_id}", tags=["archive"], responses={404: _PROBLEM})
    async def exam(exam_id: api.ExamId) -> api.Exam:
        """Return one exam's facts."""
        return await graph.exam(exam_id)

    @http.get(
        "/v1/exams/{exam_id}/crops/{region}",
        tags=["archive"],
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, 404: _PROBLEM},
    )
    async def crop(exam_id: api.ExamId, region: Region) -> Response:
        """Return one region of one exam, enhanced, as 8-bit grey PNG."""
        png = await graph.crop(exam_id, region)
        return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _add_health(http: FastAPI, graph: Graph, meter: Meter) -> None:
    @http.get("/metrics", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        """Return this replica's counters in Prometheus' format; needs a key of role admin."""
        return Response(meter.text(await graph.figures()), media_type=meters.MEDIA_TYPE)

    @http.get("/healthz", tags=["health"])
    async def healthz() -> api.Health:
        """Return that the process lives."""
        return api.Health()

    @http.get("/readyz", tags=["health"])
    async def readyz() -> api.Readiness:
        """Return that every part answers, or 503."""
        return await graph.ready()


def _add_problems(http: FastAPI) -> None:
    @http.exception_handler(ProblemError)
    async def known(_request: Request, error: ProblemError) -> Response:
        return problems.response(error.problem)

    @http.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return problems.response(problems.invalid_request(error.errors(), skip=1))

    @http.exception_handler(StarletteHTTPException)
    async def from_status(_request: Request, error: StarletteHTTPException) -> Response:
        match error.status_code:
            case 400:
                found = problems.problem(422, "invalid_request", "the body is not a multipart form")
            case 404:
                found = problems.problem(404, "unknown_address", "no such address; see /openapi.json")
            case 413:
                found = problems.problem(413, "upload_too_large", _TOO_LARGE)
            case status:
                found = problems.problem(status, "refused", "the request cannot be served in this way")
        return problems.response(found, error.headers)

    @http.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> Response:
        return problems.response(problems.internal())


def _document_problems(http: FastAPI) -> None:
    """Give the errors of /openapi.json the media type they have (FastAPI describes every model as JSON)."""
    described = http.openapi()  # kept by FastAPI, so that the change below stays
    for routes in described["paths"].values():
        for operation in routes.values():
            for code, response in operation["responses"].items():
                if code != "200":
                    response["content"] = {problems.MEDIA_TYPE: response["content"]["application/json"]}
