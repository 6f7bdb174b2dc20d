"""Errors as RFC 9457 problem+json: what went wrong and its mend, never a trace, never a path."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ErrorCode, Reject, WristmirError
from wristmir_ray.serving.api import Problem

MEDIA_TYPE = "application/problem+json"

MOST_ERRORS = 10
"""Of a request that are told."""
MOST_LETTERS = 64
"""Of a field's name: it is the sender's, and may be anything."""

_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Of RFC 9110, where Python 3.11 has those before it."""


class ProblemError(WristmirError):
    """A request ends with this problem, and these headers."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.headers = headers


def problem(status: int, code: str, detail: str) -> Problem:
    """Return a problem; its title is the status's own phrase, as RFC 9457 wants it of `about:blank`."""
    return Problem(title=_TITLES.get(status) or HTTPStatus(status).phrase, status=status, detail=detail, code=code)


def invalid_request(errors: Iterable[Mapping[str, Any]], skip: int = 0) -> Problem:
    """Return the problem of fields that are wrong: which and why, never what was sent.

    Args:
        errors: of pydantic.
        skip: how many parts of each place are not the sender's, such as `body`.
    """
    found, parts = list(errors), []
    for e in found[:MOST_ERRORS]:
        name = _tellable(".".join(str(p) for p in e["loc"][skip:]))
        message = "no such field" if e["type"] == "extra_forbidden" else str(e["msg"]).removeprefix("Value error, ")
        parts.append(f"{name}: {message}" if name else message)
    if len(found) > MOST_ERRORS:
        parts.append(f"and {len(found) - MOST_ERRORS} more")
    return problem(422, "invalid_request", "; ".join(parts))


def _tellable(name: str) -> str:
    """Return a name that an answer can hold: short, and of letters that UTF-8 has."""
    short = name if len(name) <= MOST_LETTERS else name[:MOST_LETTERS] + "..."
    return short.encode(errors="replace").decode()


def too_many_requests(wait_s: float) -> ProblemError:
    """Return the error of a caller who asks too often."""
    after = {"Retry-After": str(int(wait_s) + 1)}
    return ProblemError(
        problem(429, "too_many_requests", f"too many requests; the next one in {max(wait_s, 0.1):.1f} s"), after
    )


def response(found: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as an answer; one that a second try may mend says when."""
    retry = {"Retry-After": "1"} if found.status in {429, 503} else {}
    return JSONResponse(
        found.model_dump(),
        status_code=found.status,
        media_type=MEDIA_TYPE,
        headers={**retry, **(headers or {})},
    )


def rejected_upload(reject: Reject) -> Problem:
    """Return the problem of an upload that the pipeline would have rejected: 413 when too large, else 422."""
    status = 413 if reject.code is ErrorCode.IMAGE_TOO_LARGE else 422
    return problem(status, reject.code.value, reject.message)


def wrong_method(allowed: str | None) -> Problem:
    """Return the problem of an address that is asked in another way than it takes."""
    return problem(405, "wrong_method", f"this address takes {allowed} alone; see /openapi.json")


def unknown_address() -> Problem:
    """Return the problem of an address that nobody serves."""
    return problem(404, "unknown_address", "no such address; see /openapi.json")


def unknown_exam() -> Problem:
    """Return the problem of an exam that the archive does not hold."""
    return problem(404, "unknown_exam", "the archive holds no such exam")


def unknown_region() -> Problem:
    """Return the problem of a region that was not found in an exam's image."""
    return problem(404, ErrorCode.NO_REGION.value, "this region was not found in the exam's image")


def store_away() -> Problem:
    """Return the problem of an image whose store does not answer: another try may find it there."""
    return unavailable("store_away", "the store of the images does not answer; try again later")


def image_gone(code: str) -> Problem:
    """Return the problem of an exam whose own image is no longer where it was ingested from.

    It is 410 and not 502: the store answers, and another try would end the same. A new ingest mends it.
    """
    return problem(410, code, "the image that was ingested as this exam can no longer be shown; run ingest again")


def not_for_texts() -> Problem:
    """Return the problem of `only_similar` with a text: what is similar is calibrated on images."""
    return problem(422, "invalid_request", "only_similar: for images and exams, not for texts")


def not_stored(region: Region) -> Problem:
    """Return the problem of mode region where the region is computed for pools alone."""
    return problem(
        422,
        "not_stored",
        f"the archive does not store {region.words} vectors but computes them for a pool: ask for mode two_stage",
    )


def not_calibrated() -> Problem:
    """Return the problem of `only_similar` where the archive stores nothing to calibrate it with."""
    return problem(422, "not_calibrated", "only_similar: not for regions that the archive does not store")


def unknown_token() -> Problem:
    """Return the problem of a token that is not ours."""
    return problem(422, "invalid_token", "token: not one that this service gave")


def stale_token() -> Problem:
    """Return the problem of a token of an earlier generation of the archive."""
    return problem(410, "stale_token", "the archive has changed since the answer that the token is of: ask again")


def no_vector() -> Problem:
    """Return the problem of a query of which nothing was embedded that the search could use."""
    return problem(422, "no_query_vector", "nothing of this query was embedded that the mode could use")


def internal() -> Problem:
    """Return the problem of a fault of ours."""
    return problem(500, "internal_error", "a fault of the service; it has been logged")


def unavailable(code: str, detail: str) -> Problem:
    """Return the problem of a service that cannot answer now."""
    return problem(503, code, detail)
