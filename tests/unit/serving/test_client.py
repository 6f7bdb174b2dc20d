"""The client against the HTTP face, without a socket."""

import base64
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from tests.unit.serving.fake_graph import EXAM, FakeGraph
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.access import Keys, Role, add_key
from wristmir_ray.serving.client import Client, ServiceError
from wristmir_ray.serving.http import create_http


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


def _forward(face: TestClient, request: httpx.Request) -> httpx.Response:
    answer = face.request(request.method, request.url.path, content=request.read(), headers=dict(request.headers))
    return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def client(graph: FakeGraph) -> Iterator[Client]:
    with TestClient(create_http(graph)) as face:
        transport = httpx.MockTransport(lambda request: _forward(face, request))
        with Client("http://service", transport=transport) as client:
            yield client


def test_a_batch_s_answers_say_which_line_they_are_for(client: Client, graph: FakeGraph) -> None:
    queries = [api.BatchQuery(id="a", exam_id=EXAM, k=3), api.BatchQuery(id="b", image=base64.b64encode(b"pixels"))]
    found = {a.id: a for a in client.batch_search(queries)}
    assert {a.line for a in found.values()} == {1, 2}
    assert all(a.answer is not None and a.answer.hits[0].exam_id == EXAM for a in found.values())
    graph.problem = problems.unavailable("not_ready", "no index is loaded yet")
    (only,) = client.batch_search(queries[:1])
    assert only.problem == graph.problem


def test_a_key_is_sent_and_a_refused_batch_is_an_error(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.yaml", "viewer", Role.READ)
    with TestClient(create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"))) as face:
        transport = httpx.MockTransport(lambda request: _forward(face, request))
        with Client("http://service", key, transport=transport) as allowed:
            assert allowed.search(exam_id=EXAM).hits
            assert len(list(allowed.batch_search([api.BatchQuery(exam_id=EXAM)]))) == 1
        with Client("http://service", transport=transport) as stranger:
            with pytest.raises(ServiceError, match="401 no_key"):
                stranger.search(exam_id=EXAM)
            with pytest.raises(ServiceError, match="401 no_key"):
                list(stranger.batch_search([api.BatchQuery(exam_id=EXAM)]))


def test_each_kind_of_query(client: Client, graph: FakeGraph) -> None:
    assert client.search(image=b"pixels", k=3).hits[0].exam_id == EXAM
    assert client.search(exam_id=EXAM, mode=api.Mode.GLOBAL).mode is api.Mode.GLOBAL
    assert client.search(text="buckle", region=Region.DISTAL_ULNA, age_min=4).region is Region.DISTAL_ULNA
    assert client.search(token="abc", deadline_s=3).hits
    assert [q.exam_id for q in graph.asked] == [None, EXAM, None, None]
    assert graph.asked[3].token == "abc"
    assert graph.asked[0].parameters.k == 3
    assert graph.asked[2].parameters.age_min == 4


def test_the_archive(client: Client) -> None:
    assert client.ready().ready
    assert [a.name for a in client.archives()] == ["archive"]
    assert client.exam(EXAM).exam_id == EXAM
    assert client.crop(EXAM, Region.WRIST).startswith(b"\x89PNG")
    assert client.image(EXAM) == client.image(EXAM, max_side=512) == b"\x89PNG image"


def test_a_problem_is_an_error_with_its_code(client: Client) -> None:
    with pytest.raises(ServiceError) as caught:
        client.exam("f" * 32)
    assert (caught.value.problem.status, caught.value.problem.code) == (404, "unknown_exam")


def test_parameters_are_checked_before_sending(client: Client, graph: FakeGraph) -> None:
    with pytest.raises(ValidationError):
        client.search(exam_id=EXAM, k=0)
    assert graph.asked == []


def test_an_answer_of_a_proxy_is_a_problem_too() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(429, text="Request dropped"))
    with Client("http://service", transport=transport) as client, pytest.raises(ServiceError) as caught:
        client.archives()
    assert caught.value.problem.status == 429


def test_of_several_addresses_each_is_asked_and_one_that_is_away_is_passed_over(client: Client) -> None:
    asked: list[str] = []
    away = {"b"}

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host in away:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=b"png")

    with Client(["http://a", "http://b", "http://c"], transport=httpx.MockTransport(answer)) as several:
        for _ in range(3):
            assert several.crop(EXAM, Region.WRIST) == b"png"
        assert asked == ["a", "b", "c", "c"]
        away |= {"a", "c"}
        with pytest.raises(httpx.ConnectError):
            several.crop(EXAM, Region.WRIST)
    assert asked[4:] == ["a", "b", "c"]


def test_one_that_is_not_ready_is_passed_over_and_the_last_one_s_word_stands() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "up":
            return httpx.Response(200, content=b"png")
        return httpx.Response(503, json=problems.unavailable("not_ready", request.url.host).model_dump())

    with Client(["http://starts", "http://up"], transport=httpx.MockTransport(answer)) as two:
        assert two.crop(EXAM, Region.WRIST) == b"png"
    assert asked == ["starts", "up"]
    with Client(["http://starts", "http://too"], transport=httpx.MockTransport(answer)) as two:
        with pytest.raises(ServiceError, match="503 not_ready: too"):
            two.crop(EXAM, Region.WRIST)
        with pytest.raises(ServiceError, match="503 not_ready: starts"):
            list(two.batch_search([api.BatchQuery(exam_id=EXAM)]))


def test_an_id_that_is_none_reaches_no_other_route(client: Client) -> None:
    for ask in (client.exam, client.image, lambda i: client.crop(i, Region.WRIST)):
        with pytest.raises(ValueError, match="32 hex digits"):
            ask("../archives")


def test_importing_it_is_light() -> None:
    """An integrator's program loads httpx and pydantic, not the pipeline."""
    heavy = ("torch", "ray", "numpy", "pyarrow", "cv2", "fastapi")
    code = f"import sys, wristmir_ray.serving.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
