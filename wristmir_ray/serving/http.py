"""The HTTP face: routes, limits, and errors as problem+json. No Ray."""

from typing import Annotated, Any

from fastapi import Depends, FastAPI, Form, Header, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from wristmir_ray import __version__
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, batch, problems
from wristmir_ray.serving import meter as meters
from wristmir_ray.serving.access import Keys
from wristmir_ray.serving.body import BodyLimit
from wristmir_ray.serving.described import LINES, LINES_BACK, mend
from wristmir_ray.serving.form import SearchForm, form_alone
from wristmir_ray.serving.guard import NOT_ANSWERED, Guard, pass_of
from wristmir_ray.serving.images import MAX_SIDE_PX, MIN_SIDE_PX
from wristmir_ray.serving.limits import RateLimit
from wristmir_ray.serving.meter import Meter
from wristmir_ray.serving.probe import Probe
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
_KEPT = {"Cache-Control": "private, max-age=3600"}
_MAX_SIDE = "px; an image with a longer side is scaled down to it"
_IMAGE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}},
    304: {"description": "the caller holds it (`If-None-Match`)"},
    404: _PROBLEM,
    410: _PROBLEM,
}


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
        redirect_slashes=False,  # it would send to whatever host the request names
        responses={422: _PROBLEM, 503: _PROBLEM, **(_GUARDED if keys else {}), **(_LIMITED if limit else {})},
    )
    http.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, detail=_TOO_LARGE)
    http.add_middleware(Guard, keys=keys, limit=limit, meter=meter)
    _add_problems(http)
    _add_search(http, graph, meter)
    _add_batch(http, graph, meter)
    _add_archive(http, graph)
    _add_health(http, graph, meter)
    mend(http, guarded=keys is not None)
    return http


def _add_search(http: FastAPI, graph: Graph, meter: Meter) -> None:
    @http.post(
        "/v1/search",
        tags=["search"],
        response_model=api.SearchAnswer,
        dependencies=[Depends(form_alone)],
        responses={404: _PROBLEM, 410: _PROBLEM, 413: _PROBLEM},
    )
    async def search(
        form: Annotated[SearchForm, Form(media_type="multipart/form-data")],
    ) -> Response:
        """Return the exams of the archive that are most like the query, best first.

        Where the archive computes regions as they are asked for, an answer may be unfinished at its deadline:
        `coverage` says how far it came, and `token` goes on.
        """
        image = await form.image.read(MAX_UPLOAD_BYTES + 1) if form.image else None
        if image is not None and len(image) > MAX_UPLOAD_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        found = await answer(graph, form.parameters(), image, form.exam_id, form.text, form.token)
        meter.answer(found)
        return Response(found.model_dump_json(), media_type="application/json")  # FastAPI takes several times as long


def _add_batch(http: FastAPI, graph: Graph, meter: Meter) -> None:
    @http.post(
        "/v1/batch-search",
        tags=["search"],
        openapi_extra=LINES,
        response_class=Response,
        responses={200: {"content": {batch.MEDIA_TYPE: {"schema": LINES_BACK}}}, 413: _PROBLEM},
    )
    async def batch_search(request: Request) -> Response:
        """Take a query a line (`BatchQuery`), answer with a line each (`BatchAnswer`), as they are done.

        At most 64 MiB and 10,000 lines. Each query counts for the rate limit: a batch larger than a rested caller may
        ask at once is answered whole, and paid off before his next request.
        """
        body = await request.body()
        if body.count(b"\n") + (not body.endswith(b"\n")) > batch.MOST_LINES:
            raise ProblemError(
                problems.problem(413, "too_many_queries", f"a batch has at most {batch.MOST_LINES} lines")
            )
        pass_of(request).charge(batch.queries_in(body) - 1)
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
        responses={200: {"content": {"image/png": {}}}, 404: _PROBLEM, 410: _PROBLEM},
    )
    async def crop(exam_id: api.ExamId, region: Region) -> Response:
        """Return one region of one exam, enhanced, as 8-bit grey PNG."""
        png = await graph.crop(exam_id, region)
        return Response(png, media_type="image/png", headers=_KEPT)

    @http.get("/v1/exams/{exam_id}/image", tags=["archive"], response_class=Response, responses=_IMAGE)
    async def image(
        exam_id: api.ExamId,
        max_side: Annotated[int | None, Query(ge=MIN_SIDE_PX, le=MAX_SIDE_PX, description=_MAX_SIDE)] = None,
        if_none_match: Annotated[str, Header(description="tags of images that the caller holds")] = "",
    ) -> Response:
        """Return one exam's whole radiograph, windowed as for every other use, as 8-bit grey PNG.

        It is read where it was ingested from, and shown only if its pixels are still those of the exam: 410 where they
        are not, or where it is gone.
        """
        found = await graph.image(exam_id, max_side, if_none_match)
        headers = {**_KEPT, "ETag": found.tag}
        if found.png is None:
            return Response(status_code=304, headers=headers)
        return Response(found.png, media_type="image/png", headers=headers)


def _add_health(http: FastAPI, graph: Graph, meter: Meter) -> None:
    probe = Probe(graph.ready)

    @http.get(
        "/metrics", tags=["health"], response_class=Response, responses={200: {"content": {meters.MEDIA_TYPE: {}}}}
    )
    async def metrics() -> Response:
        """Return this replica's counters in Prometheus' format; needs a key of role admin."""
        return Response(meter.text(await graph.figures()), media_type=meters.MEDIA_TYPE)

    @http.head("/healthz", include_in_schema=False)
    @http.get("/healthz", tags=["health"])
    async def healthz() -> api.Health:
        """Return that the process lives."""
        return api.Health()

    @http.head("/readyz", include_in_schema=False)
    @http.get("/readyz", tags=["health"])
    async def readyz(request: Request) -> api.Readiness:
        """Return that all that a search needs answers, or 503; to the holder of a key also which runs answer."""
        found = await probe.ready()
        return found if pass_of(request).caller else api.Readiness(ready=found.ready)


def _add_problems(http: FastAPI) -> None:
    @http.exception_handler(ProblemError)
    async def known(_request: Request, error: ProblemError) -> Response:
        return problems.response(error.problem, error.headers)

    @http.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        return problems.response(problems.invalid_request(error.errors(), skip=1))

    @http.exception_handler(StarletteHTTPException)
    async def from_status(_request: Request, error: StarletteHTTPException) -> Response:
        match error.status_code:
            case 400:
                found = problems.problem(422, "invalid_request", "the body is not a multipart form")
            case 404:
                found = problems.unknown_address()
            case 405:
                found = problems.wrong_method((error.headers or {}).get("Allow"))
            case 413:
                found = problems.problem(413, "upload_too_large", error.detail)  # it is ours
            case status:
                found = problems.problem(status, "refused", "the request cannot be served in this way")
        return problems.response(found, error.headers)

    @http.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=NOT_ANSWERED)

    @http.exception_handler(Exception)
    async def unforeseen(_request: Request, _error: Exception) -> Response:
        return problems.response(problems.internal())
