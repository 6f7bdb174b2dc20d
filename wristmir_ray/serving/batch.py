"""Many queries in one request: NDJSON in, NDJSON out, each line as soon as it is answered."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator

from pydantic import BaseModel, Field, ValidationError

from wristmir_ray.serving import api, problems
from wristmir_ray.serving.meter import Meter
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Graph, answer

MEDIA_TYPE = "application/x-ndjson"
AT_ONCE = 16
"""Queries of a batch that are under way: a batch must not keep others out."""

MOST_LINES = 10_000
"""Of a batch."""

log = logging.getLogger(__name__)


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


class _Labelled(BaseModel):
    id: str = Field(max_length=64)


def _label(text: bytes) -> str | None:
    """Return the label of a line that is no query, where it has one."""
    try:
        return _Labelled.model_validate_json(text).id
    except ValidationError:
        return None
