"""Many queries in one request: NDJSON in, NDJSON out, each line as soon as it is answered."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from wristmir_ray.serving import api, problems
from wristmir_ray.serving.meter import Meter
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Graph, answer

MEDIA_TYPE = "application/x-ndjson"
AT_ONCE = 16
"""Queries of a batch that are under way: a batch must not keep others out."""

MOST_LINES = 10_000
"""Of a batch."""

_USUAL_QUOTES = 4 * len(api.BatchQuery.model_fields)
"""Of a line: two a name, two a value."""
_MOST_QUOTES = 2_500
"""Of a line whose text is nothing but quotes."""

log = logging.getLogger(__name__)


def queries_in(body: bytes) -> int:
    """Return how many lines of a body hold a query, at least 1."""
    return max(1, sum(1 for line in io.BytesIO(body) if line.strip()))


async def answers(graph: Graph, body: bytes, meter: Meter) -> AsyncIterator[bytes]:
    """Yield a line (`api.BatchAnswer`) for each line that holds a query; empty lines are left out.

    Args:
        graph: what answers.
        body: lines of `api.BatchQuery` in JSON.
        meter: counts what is answered.
    """
    todo = ((n, line) for n, line in enumerate(io.BytesIO(body), 1) if line.strip())
    running: set[asyncio.Task[bytes]] = set()
    try:
        while True:
            while len(running) < AT_ONCE and (given := next(todo, None)):
                running.add(asyncio.ensure_future(_line(graph, *given, meter)))
            if not running:
                return
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in running:
            task.cancel()


async def _line(graph: Graph, line: int, text: bytes, meter: Meter) -> bytes:
    found = await _one(graph, line, text, meter)
    return found.model_dump_json().encode() + b"\n"


async def _one(graph: Graph, line: int, text: bytes, meter: Meter) -> api.BatchAnswer:
    if _has_too_many_fields(text):
        found = problems.problem(
            422, "invalid_request", f"a query has at most {len(api.BatchQuery.model_fields)} fields"
        )
        return api.BatchAnswer(line=line, id=None, problem=found)
    try:
        query = api.BatchQuery.model_validate_json(text)
    except ValidationError as e:
        wrong = e.errors(include_url=False, include_input=False, include_context=False)
        found = problems.invalid_request(wrong)
        return api.BatchAnswer(line=line, id=_label(text), problem=found)
    try:
        given = query.image, query.exam_id, query.text, query.token
        hits = await answer(graph, query.parameters(), *given)
    except ProblemError as e:
        return api.BatchAnswer(line=line, id=query.id, problem=e.problem)
    except Exception:
        log.exception("a batch's query failed", extra={"fields": {"line": line}})
        return api.BatchAnswer(line=line, id=query.id, problem=problems.internal())
    meter.answer(hits)
    return api.BatchAnswer(line=line, id=query.id, answer=hits)


def _has_too_many_fields(text: bytes) -> bool:
    """Return whether a line holds more fields than there are: each costs an error, and a line has room for millions."""
    quotes = text.count(b'"')
    if quotes <= _USUAL_QUOTES:
        return False
    if quotes > _MOST_QUOTES:
        return True
    try:
        found = from_json(text)
    except ValueError:  # no JSON: that is one error
        return False
    return isinstance(found, dict) and len(found) > len(api.BatchQuery.model_fields)


class _Labelled(BaseModel):
    id: str = Field(max_length=64)


def _label(text: bytes) -> str | None:
    """Return the label of a line that is no query, where it has one."""
    try:
        return _Labelled.model_validate_json(text).id
    except ValidationError:
        return None
