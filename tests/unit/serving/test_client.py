"""The client against the HTTP face, without a socket."""

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from tests.unit.serving.fake_graph import EXAM, FakeGraph
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api
from wristmir_ray.serving.client import Client, ServiceError
from wristmir_ray.serving.http import create_http


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def client(graph: FakeGraph) -> Iterator[Client]:
    with TestClient(create_http(graph)) as face:

        def forward(request: httpx.Request) -> httpx.Response:
            headers = dict(request.headers)
            answer = face.request(request.method, request.url.path, content=request.read(), headers=headers)
            return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)

        with Client("http://service", transport=httpx.MockTransport(forward)) as client:
            yield client


def test_each_kind_of_query(client: Client, graph: FakeGraph) -> None:
    assert client.search(image=b"pixels", k=3).hits[0].exam_id == EXAM
    assert client.search(exam_id=EXAM, mode=api.Mode.GLOBAL).mode is api.Mode.GLOBAL
    assert client.search(text="buckle", region=Region.DISTAL_ULNA, age_min=4).region is Region.DISTAL_ULNA
    assert [q.exam_id for q in graph.asked] == [None, EXAM, None]
    assert graph.asked[0].parameters.k == 3
    assert graph.asked[2].parameters.age_min == 4


def test_the_archive(client: Client) -> None:
    assert client.ready().ready
    assert [a.name for a in client.archives()] == ["archive"]
    assert client.exam(EXAM).exam_id == EXAM
    assert client.crop(EXAM, Region.WRIST).startswith(b"\x89PNG")


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


def test_importing_it_is_light() -> None:
    """An integrator's program loads httpx and pydantic, not the pipeline."""
    heavy = ("torch", "ray", "numpy", "pyarrow", "cv2", "fastapi")
    code = f"import sys, wristmir_ray.serving.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
