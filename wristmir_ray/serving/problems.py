"""Errors as RFC 9457 problem+json: what went wrong and its mend, never a trace, never a path."""

from wristmir_ray.errors import ErrorCode, Reject, WristmirError
from wristmir_ray.serving.api import Problem

MEDIA_TYPE = "application/problem+json"

_TITLES = {
    404: "Not found",
    405: "Method not allowed",
    408: "Timeout",
    413: "Too large",
    422: "Bad request",
    429: "Too many requests",
    500: "Internal error",
    503: "Not ready",
}


class ProblemError(WristmirError):
    """A request ends with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def problem(status: int, code: str, detail: str) -> Problem:
    """Return a problem; its title follows from the status."""
    return Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail, code=code)


def rejected_upload(reject: Reject) -> Problem:
    """Return the problem of an upload that the pipeline would have rejected: 413 when too large, else 422."""
    status = 413 if reject.code is ErrorCode.IMAGE_TOO_LARGE else 422
    return problem(status, reject.code.value, reject.message)


def unknown_exam() -> Problem:
    """Return the problem of an exam that the archive does not hold."""
    return problem(404, "unknown_exam", "the archive holds no such exam")


def unknown_region() -> Problem:
    """Return the problem of a region that was not found in an exam's image."""
    return problem(404, ErrorCode.NO_REGION.value, "this region was not found in the exam's image")


def unavailable(code: str, detail: str) -> Problem:
    """Return the problem of a service that cannot answer now."""
    return problem(503, code, detail)
