"""The service held against its own OpenAPI description: requests made from it, answers checked by it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

SEEDS, GENERATOR_FAILS = 20, "Unsupported type: 'Binary'"
"""What schemathesis 4 says now and then of a file that it has made itself, before anything is sent."""

CHECKS: list[CheckFunction] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Return a batch's body: the schema says no more of it than that it is text."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


def hold_against_schema(
    schema: Any, examples: int, known: Mapping[str, Any], headers: Mapping[str, str], **where: Any
) -> dict[str, Counter[int]]:
    """Send requests that the schema allows and such that it forbids; return how many of each route got which status.

    Args:
        schema: of schemathesis, with a way to call the service.
        examples: requests of each kind to each route.
        known: good queries of a search by name. A made-up exam would always be unknown, and the schema cannot say that
            a search has one query alone: in most requests what it has made is replaced.
        headers: of every request.
        where: how a case is called, such as `base_url`.

    Raises:
        AssertionError: an answer is a 5xx, or is not as the schema has it.
    """
    statuses: dict[str, Counter[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in GenerationMode:
            send = _sender(operation.label, statuses, known, headers, where)
            strategy = operation.as_strategy(generation_mode=mode)
            with suppress(Unsatisfiable):  # a route without parameters takes no wrong ones
                _try_all(strategy, send, examples, known)
    return statuses


def _try_all(strategy: Any, send: Callable[[Any, str | None, bool], None], examples: int, known: Iterable[str]) -> None:
    """Send so many examples; where the generator itself fails on a file it has made, go on with another seed."""
    sent = 0

    def counted(case: Any, query: str | None, alone: bool) -> None:
        nonlocal sent
        sent += 1
        send(case, query, alone)

    for number in range(SEEDS):
        run = seed(number)(given(strategy, st.sampled_from([None, *known]), st.booleans())(counted))
        rest = settings(
            max_examples=examples - sent,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            return rest(run)()
        except ValueError as e:
            if GENERATOR_FAILS not in str(e) or sent >= examples:
                raise
    raise AssertionError(f"the generator failed on {SEEDS} seeds, after {sent} of {examples} requests")


def _sender(
    label: str,
    statuses: dict[str, Counter[int]],
    known: Mapping[str, Any],
    headers: Mapping[str, str],
    where: Mapping[str, Any],
) -> Callable[[Any, str | None, bool], None]:
    def send(case: Any, query: str | None, alone: bool) -> None:
        if query and isinstance(case.body, dict) and known.keys() & case.body.keys():
            others = {n: v for n, v in case.body.items() if n not in known and not alone}
            case.body = others | {query: known[query]}
        if query and case.path_parameters and "exam_id" in case.path_parameters:
            case.path_parameters["exam_id"] = known["exam_id"]
        answer = case.call(headers=dict(headers), **where)
        statuses.setdefault(label, Counter())[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    return send


def check_reached(statuses: Mapping[str, Counter[int]]) -> None:
    """Raise AssertionError unless every route gave a good answer, and a search good and bad ones."""
    assert not [route for route, seen in statuses.items() if not seen[200]], statuses
    assert min(statuses["POST /v1/search"][200], statuses["POST /v1/search"][422]) >= 3, statuses
