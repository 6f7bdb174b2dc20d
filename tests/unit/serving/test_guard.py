"""Before every route: who asks, how often, and what is written down of it."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.fake_graph import EXAM, FakeGraph
from tests.unit.serving.test_http import problem_of
from wristmir_ray.serving import limits
from wristmir_ray.serving.access import Keys, Role, add_key
from wristmir_ray.serving.http import create_http
from wristmir_ray.serving.limits import RateLimit

SEARCH = {"exam_id": EXAM}


@pytest.fixture
def keys(tmp_path: Path) -> dict[Role, str]:
    return {role: add_key(tmp_path / "keys.yaml", f"the-{role}", role) for role in Role}


@pytest.fixture
def client(keys: dict[Role, str], tmp_path: Path) -> Iterator[TestClient]:
    app = create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"), RateLimit(per_s=0.001, burst=5))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def audit(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [r.fields for r in caplog.records if r.name == "wristmir_ray.audit"]  # type: ignore[attr-defined]


def test_without_a_key_nothing_is_told(keys: dict[Role, str], tmp_path: Path) -> None:
    client = TestClient(create_http(FakeGraph(), Keys(tmp_path / "keys.yaml")))
    wrong = ({}, bearer("wmr_wrong"), {"Authorization": keys[Role.READ]}, bearer(keys[Role.READ][:-1]), bearer(""))
    for headers in wrong:
        for method, path in (
            ("POST", "/v1/search"),
            ("GET", "/openapi.json"),
            ("GET", "/nowhere"),
            ("GET", "/metrics"),
        ):
            answer = client.request(method, path, headers=headers)
            problem_of(answer, 401, "no_key")
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_key_of_the_right_role_opens(client: TestClient, keys: dict[Role, str]) -> None:
    assert client.post("/v1/search", data=SEARCH, headers=bearer(keys[Role.READ])).status_code == 200
    problem_of(client.get("/metrics", headers=bearer(keys[Role.READ])), 403, "not_allowed")
    text = client.get("/metrics", headers=bearer(keys[Role.ADMIN])).text
    assert 'wristmir_requests_total{route="/v1/search",status="200"} 1.0' in text
    assert 'wristmir_stage_seconds_count{stage="coarse"} 1.0' in text
    assert EXAM not in text


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/metrics%0A", "//metrics", "/%6detrics", "/x/../metrics"])
@pytest.mark.parametrize("mounted", ["", "/prefix"])
def test_no_spelling_of_the_address_opens_what_is_the_admins(
    keys: dict[Role, str], tmp_path: Path, path: str, mounted: str
) -> None:
    app = create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"))
    client = TestClient(app, root_path=mounted, raise_server_exceptions=False)
    answer = client.get(mounted + path, headers=bearer(keys[Role.READ]))
    assert answer.status_code in {403, 404}, answer.text
    assert "wristmir_requests" not in answer.text
    assert client.get(f"{mounted}/healthz").status_code == 200


def test_keys_cannot_be_tried_at_will(client: TestClient) -> None:
    tried = [client.get("/v1/archives", headers=bearer(f"wmr_{n}")).status_code for n in range(7)]
    assert tried == [401] * 5 + [429] * 2


def test_a_fault_of_ours_is_said_and_has_an_id(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = FakeGraph()

    async def fail() -> None:
        raise RuntimeError("Jane Roe")

    monkeypatch.setattr(graph, "archive", fail)
    client = TestClient(create_http(graph), raise_server_exceptions=False)
    with caplog.at_level(logging.INFO, "wristmir_ray.audit"):
        answer = client.get("/v1/archives")
    problem_of(answer, 500, "internal_error")
    assert answer.headers["x-request-id"]
    assert [s["status"] for s in audit(caplog) if "status" in s] == [500]
    assert "Roe" not in str([r.__dict__.get("fields") for r in caplog.records]) + answer.text


@pytest.mark.parametrize("path", ["/v1/search", "/v1/batch-search"])
def test_who_goes_away_while_he_sends_is_no_fault_of_ours(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Broken uploads must not look like errors of the service."""
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "client": ("127.0.0.1", 1)}
    headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"content-length", b"100")]

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def nobody(message: Any) -> None:
        pass

    with caplog.at_level(logging.INFO, "wristmir_ray.audit"):
        asyncio.run(create_http(FakeGraph())({**scope, "headers": headers}, gone, nobody))
    assert [s["status"] for s in audit(caplog)] == [499 if path.startswith("/v1/batch") else 422]


def test_a_refused_key_is_named_in_the_audit_log(
    client: TestClient, keys: dict[Role, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "wristmir_ray.audit"):
        client.get("/metrics", headers=bearer(keys[Role.READ]))
    assert [(s["caller"], s["status"]) for s in audit(caplog)] == [("the-read", 403)]


def test_probes_need_no_key_and_are_not_limited(client: TestClient) -> None:
    assert {client.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(10)} == {200}


def test_a_probe_tells_runs_to_the_holder_of_a_key_alone(keys: dict[Role, str], tmp_path: Path) -> None:
    client = TestClient(create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"), RateLimit(per_s=0.001, burst=3)))
    for headers in ({}, bearer("wmr_wrong")):
        assert client.get("/readyz", headers=headers).json() == {"ready": True, "lineage": None}
    assert client.get("/readyz", headers=bearer(keys[Role.READ])).json()["lineage"]["index"] == "i1"
    assert TestClient(create_http(FakeGraph())).get("/readyz").json()["lineage"]["index"] == "i1"


def test_a_probe_is_no_way_to_try_keys(keys: dict[Role, str], tmp_path: Path) -> None:
    client = TestClient(create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"), RateLimit(per_s=0.001, burst=3)))
    tried = [client.get("/readyz", headers=bearer(keys[Role.READ])).json()["lineage"] is None for _ in range(4)]
    assert tried == [False] * 3 + [True]


def test_a_batch_pays_for_each_of_its_queries(keys: dict[Role, str], client: TestClient) -> None:
    line = f'{{"exam_id": "{EXAM}"}}\n'.encode()
    reader, admin = bearer(keys[Role.READ]), bearer(keys[Role.ADMIN])
    assert client.post("/v1/batch-search", content=line * 4 + b"\n\n", headers=reader).status_code == 200
    assert client.get("/v1/archives", headers=reader).status_code == 200
    refused = client.post("/v1/batch-search", content=line, headers=reader)
    problem_of(refused, 429, "too_many_requests")

    larger = client.post("/v1/batch-search", content=line * 8, headers=admin)  # than the bucket, which was full
    assert (larger.status_code, larger.content.count(b"\n")) == (200, 8)
    wait_s = int(client.get("/v1/archives", headers=admin).headers["retry-after"])
    assert 3_900 < wait_s <= 4_001  # three are owed, and one is wanted


def test_a_batch_that_cannot_be_paid_is_not_answered(keys: dict[Role, str], client: TestClient) -> None:
    line = f'{{"exam_id": "{EXAM}"}}\n'.encode()
    reader = bearer(keys[Role.READ])
    assert client.get("/v1/archives", headers=reader).status_code == 200
    refused = client.post("/v1/batch-search", content=line * 5, headers=reader)
    problem_of(refused, 429, "too_many_requests")
    assert client.post("/v1/batch-search", content=line * 3, headers=reader).status_code == 200


def test_one_caller_does_not_use_up_another_s_share(client: TestClient, keys: dict[Role, str]) -> None:
    asked = [client.post("/v1/search", data=SEARCH, headers=bearer(keys[Role.READ])) for _ in range(6)]
    assert [a.status_code for a in asked] == [200] * 5 + [429]
    problem_of(asked[-1], 429, "too_many_requests")
    assert int(asked[-1].headers["retry-after"]) > 900
    assert client.post("/v1/search", data=SEARCH, headers=bearer(keys[Role.ADMIN])).status_code == 200


def test_strangers_do_not_push_a_key_s_debts_out(
    keys: dict[Role, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_CALLERS", 2)
    app = create_http(FakeGraph(), Keys(tmp_path / "keys.yaml"), RateLimit(per_s=0.001, burst=1))
    reader = bearer(keys[Role.READ])
    assert TestClient(app).get("/v1/archives", headers=reader).status_code == 200
    for n in range(5):
        assert TestClient(app, client=(f"10.0.0.{n}", 1)).get("/v1/archives").status_code == 401
    assert TestClient(app).get("/v1/archives", headers=reader).status_code == 429


def test_without_keys_an_address_is_a_caller() -> None:
    with TestClient(create_http(FakeGraph(), limit=RateLimit(per_s=0.001, burst=2))) as client:
        assert [client.get("/v1/archives").status_code for _ in range(3)] == [200, 200, 429]


def test_the_audit_log_says_who_and_what_and_nothing_of_the_query(
    client: TestClient, keys: dict[Role, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "wristmir_ray.audit"):
        client.post("/v1/search", data={"text": "Jane Roe, buckle"}, headers=bearer(keys[Role.READ]))
        client.get(f"/v1/exams/{EXAM}", headers=bearer(keys[Role.READ]))
        client.get("/v1/exams/Jane", headers=bearer(keys[Role.READ]))
        client.get("/Jane/Roe")
    said = audit(caplog)
    assert [(s["caller"], s["method"], s["route"], s["status"]) for s in said] == [
        ("the-read", "POST", "/v1/search", 200),
        ("the-read", "GET", "/v1/exams/{exam_id}", 200),
        ("the-read", "GET", "/v1/exams/{exam_id}", 422),
        (None, "GET", "none", 401),
    ]
    assert said[0]["bytes"] > 0
    assert "Jane" not in str(said)
    assert EXAM not in str(said)
    assert keys[Role.READ] not in str(said)


@pytest.mark.parametrize(
    ("sent", "kept"), [("abcdef-123", True), ("x", False), ("a b c d e f g", False), ("a" * 65, False)]
)
def test_a_request_has_an_id(client: TestClient, sent: str, kept: bool) -> None:
    answers = [client.get("/healthz", headers={"X-Request-Id": sent}) for _ in range(2)]
    ids = [a.headers["x-request-id"] for a in answers]
    assert (ids == [sent, sent]) == kept
    assert kept or len(set(ids)) == 2
    assert client.get("/v1/archives").headers["x-request-id"]  # of a refusal, too
