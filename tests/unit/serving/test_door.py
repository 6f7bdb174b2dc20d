"""Around Serve's own proxy, as Serve puts it there: one id an answer, no header that steers Serve, honest errors."""

import asyncio

import pytest
from fastapi.testclient import TestClient
from ray.serve._private.http_util import _apply_middlewares, parse_request_timeout_header
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.unit.serving.fake_graph import FakeGraph
from wristmir_ray.serving import api, batch, door
from wristmir_ray.serving.asking import MAX_DEADLINE_S
from wristmir_ray.serving.http import create_http


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the headers that came in."""
    names = Request(scope).headers.items()
    await JSONResponse([list(pair) for pair in names])(scope, receive, send)


@pytest.mark.parametrize("sent", [None, b"abcdef-123", b"x", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", b"a" * 60_000])
def test_an_answer_has_one_id_and_it_is_the_one_we_log(sent: bytes | None) -> None:
    client = TestClient(_apply_middlewares(create_http(FakeGraph()), door.middlewares()))
    headers = [] if sent is None else [(b"x-request-id", sent)]
    for path in ("/healthz", "/nowhere", "/readyz"):
        answer = client.get(path, headers=headers)
        (one,) = answer.headers.get_list("x-request-id")
        assert 8 <= len(one) <= 64
        assert (one.encode() == sent) == (sent == b"abcdef-123")


def test_without_it_serve_adds_its_own() -> None:
    """Where this fails, Serve has changed, and the door may be needless."""
    client = TestClient(_apply_middlewares(create_http(FakeGraph()), []))
    assert len(client.get("/healthz").headers.get_list("x-request-id")) == 2


def test_two_ids_are_none() -> None:
    client = TestClient(_apply_middlewares(echo, door.middlewares()))
    answer = client.get("/", headers=[("x-request-id", "abcdef-123"), ("x-request-id", "abcdef-456")])
    (one,) = answer.headers.get_list("x-request-id")
    assert one not in {"abcdef-123", "abcdef-456"}
    assert [v for k, v in answer.json() if k == "x-request-id"] == [one]


def test_nobody_steers_serve_and_other_headers_pass() -> None:
    client = TestClient(_apply_middlewares(echo, door.middlewares()))
    steering = (
        "X-Request-Timeout-Seconds",
        "x-request-disconnect-disabled",
        "serve_multiplexed_model_id",
        "x-session-id",
    )
    sent = dict.fromkeys([*steering, "serve-multiplexed-model-id", "x_session_id"], "0") | {"authorization": "Bearer k"}
    came = dict(client.get("/", headers=sent).json())
    assert came["authorization"] == "Bearer k"
    assert not {name.lower() for name in sent} - {"authorization"} & set(came)


def test_a_batch_has_a_time_limit_of_its_own_as_serve_reads_it() -> None:
    client = TestClient(_apply_middlewares(echo, door.middlewares()))
    for path, limit_s in (
        ("/v1/batch-search", door.BATCH_LIMIT_S),
        ("/under/v1/batch-search", door.BATCH_LIMIT_S),
        ("/v1/search", 30),
    ):
        came = client.post(path, headers={"X-Request-Timeout-Seconds": "0"}).json()
        raw = {name.encode(): value.encode() for name, value in came}
        assert parse_request_timeout_header(raw, 30.0) == limit_s, path
    assert batch.MOST_LINES / batch.AT_ONCE * MAX_DEADLINE_S < door.BATCH_LIMIT_S


def test_a_batch_s_path_is_the_service_s() -> None:
    assert door.BATCH in create_http(FakeGraph()).openapi()["paths"]


async def lines(scope: Scope, receive: Receive, send: Send) -> None:
    """Send lines for as long as somebody is there."""
    gone = asyncio.ensure_future(hangs_up(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"{}\n", "more_body": True})
        await asyncio.sleep(0)


async def hangs_up(receive: Receive) -> None:
    """Return when the client has hung up."""
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("hanging_up", [True, False])
def test_who_takes_no_line_of_a_batch_is_gone_and_who_hangs_up_is(
    monkeypatch: pytest.MonkeyPatch, hanging_up: bool
) -> None:
    monkeypatch.setattr(door, "STALL_S", 0.05 if not hanging_up else 60.0)
    taken: list[Message] = []
    given = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def send(message: Message) -> None:
        taken.append(message)
        if len(taken) > 3 and not hanging_up:
            await asyncio.Event().wait()  # the connection's buffer is full

    async def receive() -> Message:
        if found := next(given, None):
            return found
        while not (hanging_up and len(taken) > 3):
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    async def serve() -> None:
        async with asyncio.timeout(10):
            await door.Door(lines)({"type": "http", "path": door.BATCH, "headers": []}, receive, send)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1, "no task is left behind"

    asyncio.run(serve())
    assert taken[0]["status"] == 200
    assert len(taken) >= 4


def test_who_stops_in_the_midst_of_sending_a_batch_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STALL_S", 0.05)
    given = iter([{"type": "http.request", "body": b"{", "more_body": True}])
    came: list[str] = []

    async def receive() -> Message:
        if found := next(given, None):
            return found
        await asyncio.Event().wait()
        raise AssertionError

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while not came or came[-1] != "http.disconnect":
            came.append((await receive())["type"])

    async def send(message: Message) -> None:
        pass

    async def serve() -> None:
        async with asyncio.timeout(10):
            await door.Door(reads)({"type": "http", "path": door.BATCH, "headers": []}, receive, send)

    asyncio.run(serve())
    assert came == ["http.request", "http.disconnect"]


def serves(status: int, words: str, headers: dict[str, str]) -> ASGIApp:
    """What Serve's proxy says by itself."""
    return PlainTextResponse(words, status, headers)


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    """A fault in Serve's proxy."""
    raise RuntimeError("in the proxy")


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """What Serve's proxy says where the replica died under a request: nothing, of which uvicorn makes a bare 500."""


async def gives_up(scope: Scope, receive: Receive, send: Send) -> None:
    """What a replica does at its own door, once a request's time is up."""
    await serves(408, "Request 7 timed out after 30s.", {})(scope, receive, send)
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("app", "status", "code"),
    [
        (nothing, 503, "part_failed"),
        (fails, 503, "part_failed"),
        (serves(500, "Internal Server Error", {}), 503, "part_failed"),
        (serves(408, "Request 7 timed out after 30s.", {}), 503, "timed_out"),
        (gives_up, 503, "timed_out"),
        (serves(503, "Deployment is unavailable", {"retry-after": "7"}), 503, "not_ready"),
        (serves(404, "Path '/' not found.", {}), 503, "not_ready"),
        (
            serves(429, "Request dropped due to backpressure (num_queued_requests=128)", {"retry-after": "7"}),
            429,
            "busy",
        ),
    ],
)
def test_what_serve_says_itself_is_a_problem(app: ASGIApp, status: int, code: str) -> None:
    answer = TestClient(_apply_middlewares(app, door.middlewares())).post("/v1/search")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert api.Problem.model_validate_json(answer.content).code == code
    assert int(answer.headers["retry-after"]) in {1, 7}
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.headers.get_list("x-request-id")) == 1


def test_the_application_s_own_problems_pass() -> None:
    client = TestClient(_apply_middlewares(create_http(FakeGraph()), door.middlewares()))
    assert client.get("/nowhere").json()["code"] == "unknown_address"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_target_that_is_no_path_is_no_address() -> None:
    """`GET *`: uvicorn passes it on, and Serve finds no application for it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": "*", "headers": [], "query_string": b""}
    asyncio.run(door.Door(serves(404, "Path '*' not found.", {}))(scope, receive, send))
    assert sent[0]["status"] == 404
    assert api.Problem.model_validate_json(sent[1]["body"]).code == "unknown_address"
    assert b"retry-after" not in dict(sent[0]["headers"])
