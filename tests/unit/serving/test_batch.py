"""Many queries in one request: a line each, in any order, whatever befalls one of them."""

import asyncio
import base64
import json
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.fake_graph import EXAM, FakeGraph
from tests.unit.serving.test_http import problem_of
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, batch, http, problems
from wristmir_ray.serving.http import create_http
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Query, Sighting


class Slow(FakeGraph):
    """Counts the queries that are under way; an upload is no image, the text `bug` is a fault of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def extract(self, image: bytes) -> Sighting:
        raise ProblemError(problems.problem(422, "unknown_format", "no image"))

    async def search(self, query: Query) -> api.SearchAnswer:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.002 if query.parameters.k % 2 else 0)
        self.now -= 1
        if self.encoded[-1:] == ["bug"]:
            raise RuntimeError("Jane Roe")
        return await super().search(query)


@pytest.fixture
def graph() -> Slow:
    return Slow()


@pytest.fixture
def client(graph: Slow) -> Iterator[TestClient]:
    with TestClient(create_http(graph), raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, *lines: object) -> list[api.BatchAnswer]:
    body = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
    answer = client.post("/v1/batch-search", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, batch.MEDIA_TYPE)
    return [api.BatchAnswer.model_validate_json(line) for line in answer.text.splitlines()]


def test_every_line_is_answered_once(client: TestClient, graph: Slow) -> None:
    wanted = [{"id": str(n), "exam_id": EXAM, "k": 1 + n % 7, "region": "distal_ulna"} for n in range(100)]
    found = ask(client, *wanted)
    assert sorted((a.line, a.id) for a in found) == [(n + 1, str(n)) for n in range(100)]
    assert all(a.answer and a.answer.region is Region.DISTAL_ULNA and a.problem is None for a in found)
    assert 1 < graph.most <= batch.AT_ONCE


def test_a_bad_line_is_a_problem_and_its_neighbours_are_answered(client: TestClient) -> None:
    image = base64.b64encode(b"pixels").decode()
    found = ask(
        client,
        {"exam_id": EXAM},
        b"{no json",
        {"id": "both", "exam_id": EXAM, "text": "x"},
        b"",
        {"id": "upload", "image": image},
        {"id": "field", "exam_id": EXAM, "hidden": 1},
        {"id": "base", "image": "%%%"},
        b'"a string"',
        b"\xff\xfe",
        {"id": "x" * 65, "exam_id": EXAM},
        {"id": "last", "text": "buckle"},
        b"[" * 200_000,
        b'{"id": "\\ud800", "x": 1}',
        {"id": "alike", "text": "buckle", "only_similar": True},
    )
    codes = {a.line: (a.id, a.problem.code if a.problem else None) for a in found}
    assert codes == {
        1: (None, None),
        2: (None, "invalid_request"),
        3: ("both", "invalid_request"),
        5: ("upload", "unknown_format"),
        6: ("field", "invalid_request"),
        7: ("base", "invalid_request"),
        8: (None, "invalid_request"),
        9: (None, "invalid_request"),
        10: (None, "invalid_request"),
        11: ("last", None),
        12: (None, "invalid_request"),
        13: (None, "invalid_request"),
        14: ("alike", "invalid_request"),
    }


def test_a_line_of_many_fields_is_one_error(client: TestClient) -> None:
    """A million of them would hold everybody up for a quarter of a minute, and take a gigabyte."""
    few, many = ({f"field{n}": n for n in range(count)} for count in (60, 50_000))
    quoted = {"exam_id": EXAM, "id": "q" * 10, "text": None, "date_from": '"' * 40}
    found = ask(client, few, many, {"text": '"' * 2_000}, quoted, b'{"text":' + b'"' * 100)
    details = {a.line: a.problem.detail if a.problem else None for a in found}
    assert details[1] == details[2] == f"a query has at most {len(api.BatchQuery.model_fields)} fields"
    assert details[3] is None
    assert details[4] is not None
    assert "date_from" in details[4]
    assert "JSON" in str(details[5])


def test_a_fault_of_ours_is_a_line_without_its_reason(client: TestClient) -> None:
    (found,) = ask(client, {"id": "b", "text": "bug"})
    assert found.problem is not None
    assert (found.id, found.problem.status, found.problem.code) == ("b", 500, "internal_error")
    assert "Roe" not in found.model_dump_json()


def test_nothing_asked_is_nothing_answered(client: TestClient) -> None:
    assert ask(client) == []


def test_a_batch_has_a_bounded_number_of_lines(client: TestClient) -> None:
    for lines in (b"\n" * (batch.MOST_LINES + 1), b"\n" * batch.MOST_LINES + b"{}"):
        problem_of(client.post("/v1/batch-search", content=lines), 413, "too_many_queries")
    assert client.post("/v1/batch-search", content=b"\n" * batch.MOST_LINES).status_code == 200


def test_a_batch_has_the_limit_of_an_upload(client: TestClient) -> None:
    problem_of(client.post("/v1/batch-search", content=b" " * (http.MAX_BODY_BYTES + 1)), 413, "upload_too_large")
