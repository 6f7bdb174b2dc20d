"""A thin client: the service's own types over httpx, light to import.

with Client("http://127.0.0.1:8000") as client:
    answer = client.search(image=Path("wrist.png").read_bytes(), region=Region.DISTAL_ULNA)
    for hit in answer.hits: ...
"""

import re
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import cycle, islice
from types import TracebackType
from typing import Any, Self

import httpx
from pydantic import TypeAdapter, ValidationError

from wristmir_ray.anatomy import Region
from wristmir_ray.errors import WristmirError
from wristmir_ray.serving.api import (
    ArchiveSummary,
    BatchAnswer,
    BatchQuery,
    Exam,
    Problem,
    Readiness,
    SearchAnswer,
    SearchParameters,
)

_EXAM_ID = re.compile(r"[0-9a-f]{32}")
_ARCHIVES = TypeAdapter(list[ArchiveSummary])
_AWAY = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""Who listens there is gone: another address may be asked, since no request changes anything."""
_NOT_READY = 503
CONNECT_S = 3.0
_NDJSON = {"Content-Type": "application/x-ndjson"}


class ServiceError(WristmirError):
    """The service answered with a problem; `problem.code` says which."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.code}: {problem.detail}")
        self.problem = problem

    def __reduce__(self) -> tuple[type[Self], tuple[Problem]]:
        return type(self), (self.problem,)


class Client:
    """Talks to one service.

    Every method raises ServiceError where the service refuses, httpx.TransportError where nobody answers, and
    ValueError for an exam's id that is none.

    Args:
        url: where it listens; of several addresses each is asked in turn, and the next one where nobody listens, the
            connection ends before the answer, or the answer is 503. One that says nothing at all takes `timeout_s`.
        key: an API key, where it asks for one.
        timeout_s: of one request.
        verify: whose certificates are trusted; default those that web sites have. For a hospital's own:
            `ssl.create_default_context(cafile="hospital.pem")`.
        transport: instead of the network (tests).
    """

    def __init__(
        self,
        url: str | Sequence[str],
        key: str | None = None,
        timeout_s: float = 30.0,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        urls = [url] if isinstance(url, str) else list(url)
        if not urls:
            raise ValueError("a client needs the address of a service")
        wait = httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
        more: dict[str, Any] = {"timeout": wait, "verify": verify, "transport": transport, "headers": headers}
        self._doors = [httpx.Client(base_url=u, **more) for u in urls]
        self._turns = cycle(range(len(urls)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for http in self._doors:
            http.close()

    def search(
        self,
        *,
        image: bytes | None = None,
        exam_id: str | None = None,
        text: str | None = None,
        token: str | None = None,
        **parameters: Any,
    ) -> SearchAnswer:
        """Return the most similar exams for one query: an image, an exam of the archive, or a text.

        An archive that computes regions as they are asked for may give an unfinished answer; its token goes on:

            while answer.token: answer = client.search(token=answer.token)

        Args:
            image: a whole DICOM, PNG or JPEG file.
            exam_id: an exam of the archive.
            text: a description, as a report has it.
            token: of an unfinished answer, instead of a query; of the parameters it takes deadline_s alone.
            parameters: members of `SearchParameters`, e.g. region, mode, pool, k, age_min, deadline_s.

        Raises:
            ServiceError: the service refused; pydantic.ValidationError: a parameter out of bounds.
        """
        wanted = SearchParameters(**parameters).model_dump(mode="json", exclude_none=True)
        query = {"exam_id": exam_id, "text": text, "token": token}
        form = {name: str(value) for name, value in {**wanted, **query}.items() if value is not None}
        files = {name: (None, value.encode()) for name, value in form.items()}
        upload = {} if image is None else {"image": ("radiograph", image)}
        return SearchAnswer.model_validate_json(self._send("POST", "/v1/search", files={**files, **upload}))

    def batch_search(self, queries: Iterable[BatchQuery], timeout_s: float | None = None) -> Iterator[BatchAnswer]:
        """Yield an answer or a problem for each query, as they are done: `line` says which, from 1.

        Args:
            queries: 64 MiB in all at most.
            timeout_s: of waiting for the next line; default the client's.

        Raises:
            ServiceError: the service refused the whole batch.
            httpx.TransportError: the connection ended before all were answered; the other lines may be sent again.
        """
        lines = b"".join(q.model_dump_json(exclude_none=True).encode() + b"\n" for q in queries)
        more: dict[str, Any] = {} if timeout_s is None else {"timeout": timeout_s}
        answer = self._answer("POST", "/v1/batch-search", False, content=lines, headers=_NDJSON, **more)
        try:
            if not answer.is_success:
                answer.read()
                raise ServiceError(_problem(answer))
            for line in answer.iter_lines():
                if line:
                    yield BatchAnswer.model_validate_json(line)
        finally:
            answer.close()

    def archives(self) -> list[ArchiveSummary]:
        """Return what can be searched."""
        return _ARCHIVES.validate_json(self._send("GET", "/v1/archives"))

    def exam(self, exam_id: str) -> Exam:
        """Return one exam's facts; ServiceError with status 404 where there is none."""
        return Exam.model_validate_json(self._send("GET", _path(exam_id)))

    def crop(self, exam_id: str, region: Region) -> bytes:
        """Return one region of one exam as PNG; ServiceError with status 404 where there is none."""
        return self._send("GET", f"{_path(exam_id)}/crops/{region}")

    def image(self, exam_id: str, max_side: int | None = None) -> bytes:
        """Return one exam's whole radiograph as PNG; ServiceError with status 404 or 410 where there is none.

        Args:
            exam_id: an exam of the archive.
            max_side: px; a longer image is scaled down.
        """
        asked = {} if max_side is None else {"max_side": max_side}
        return self._send("GET", f"{_path(exam_id)}/image", params=asked)

    def ready(self) -> Readiness:
        """Return the service's readiness, with the runs that answer where it asks for no key or has got one.

        Raises:
            ServiceError: with status 503, while it is not ready.
        """
        return Readiness.model_validate_json(self._send("GET", "/readyz"))

    def _send(self, method: str, path: str, **more: Any) -> bytes:
        answer = self._answer(method, path, True, **more)
        if answer.is_success:
            return answer.content
        raise ServiceError(_problem(answer))

    def _answer(self, method: str, path: str, whole: bool, **more: Any) -> httpx.Response:
        """Send a request to whoever is there; return the answer, whole or from its first byte on."""
        first = next(self._turns)
        *others, last = islice(cycle(self._doors), first, first + len(self._doors))
        for http in others:
            with suppress(*_AWAY):
                answer = http.send(http.build_request(method, path, **more), stream=not whole)
                if answer.status_code != _NOT_READY:
                    return answer
                answer.close()
        return last.send(last.build_request(method, path, **more), stream=not whole)


def _path(exam_id: str) -> str:
    """Return an exam's address; ValueError for what is no exam's id: it could be of another route."""
    if not _EXAM_ID.fullmatch(exam_id):
        raise ValueError("an exam's id has 32 hex digits")
    return f"/v1/exams/{exam_id}"


def _problem(answer: httpx.Response) -> Problem:
    """Return the answer's problem; one that comes from a proxy before the service is made up."""
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        reason = answer.reason_phrase or "Error"
        return Problem(title=reason, status=answer.status_code, code="refused", detail=reason)
