"""ASGI middleware of Serve's own listeners, outside of all that they do: one request id, no steering, honest errors.

    export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=wristmir_ray.serving.door:middlewares    # before Ray starts

Serve puts an `X-Request-Id` of its own on each answer, takes whatever was sent as one (a byte that is no UTF-8 ends in
a bare 500), lets a request's headers switch its time limit off, and ends every answer at that limit, one of many lines
in its midst. Nothing of that can be reached from inside an application.
"""

import asyncio
import logging
import uuid
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wristmir_ray.serving import problems
from wristmir_ray.serving.api import Problem
from wristmir_ray.serving.guard import REQUEST_ID, SENT_ID

BATCH = "/v1/batch-search"
BATCH_LIMIT_S = 3 * 3600
"""Of a batch, instead of `request_timeout_s`: 10,000 searches, 16 at once, each to the latest deadline that it may have
(`batch.MOST_LINES`, `batch.AT_ONCE`, `asking.MAX_DEADLINE_S`), take 2.6 hours."""
STALL_S = 20.0
"""After which somebody who sends nothing more of a batch, or takes none of its lines, is gone: a part of the service
waits for him, and behind Serve's proxy the rest of the answer does, in memory."""

logger = logging.getLogger(__name__)

_ID = REQUEST_ID.lower().encode()
_TIMED_OUT = "the request was not done within the service's time limit, in which sending it counts"
_LIMIT = "x-request-timeout-seconds"
_STEERING = frozenset({_LIMIT, "x-request-disconnect-disabled", "serve-multiplexed-model-id", "x-session-id"})
"""Headers by which Serve lets a sender choose its time limit, what becomes of it when he goes, and its replica."""


class Door:
    """Gives each request one id, each answer the same one, once, and every error of Serve's own as a problem.

    Args:
        app: Serve's proxy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == _ID]
        kept = sent[0] if len(sent) == 1 and SENT_ID.fullmatch(sent[0]) else uuid.uuid4().hex
        answer = _Answer((_ID, kept.encode()), send)
        if not scope["path"].startswith("/"):  # `GET *`: Serve would say that no application is there
            await _answer(problems.unknown_address())(scope, receive, answer.send_named)
            return
        headers = [h for h in scope["headers"] if h[0].lower() != _ID and _name(h[0]) not in _STEERING]
        if scope["path"].endswith(BATCH):
            headers.append((_LIMIT.encode(), str(BATCH_LIMIT_S).encode()))
            sender = _Sender(receive, send)
            receive, answer = sender.receive, _Answer(answer.named, sender.send)
        try:
            await self._app({**scope, "headers": [*headers, answer.named]}, receive, answer.pass_on)
        except asyncio.CancelledError:  # a replica's own door has said 408, and gives up
            if answer.error is None:
                raise
        except Exception:
            if answer.begun and answer.error is None:  # too late for another answer
                raise
            logger.exception("Serve's proxy failed")
        if answer.error is None and not answer.begun:  # the replica died under it
            answer.error = _part_failed()
        if answer.error is not None:
            await answer.error(scope, receive, answer.send_named)


class _Answer:
    """One answer on its way out."""

    def __init__(self, named: tuple[bytes, bytes], send: Send) -> None:
        self.named, self._send = named, send
        self.begun = False
        self.error: Response | None = None
        """What is sent instead of Serve's own words."""

    async def pass_on(self, message: Message) -> None:
        """Send a message of the application's; keep back what Serve says itself."""
        if message["type"] == "http.response.start":
            self.begun = True
            self.error = _error(message)
        if self.error is None:
            await self.send_named(message)

    async def send_named(self, message: Message) -> None:
        """Send a message with the request's id."""
        if message["type"] == "http.response.start":
            others = [h for h in message.get("headers", []) if h[0].lower() != _ID]
            message = {**message, "headers": [*others, self.named]}
        await self._send(message)


class _Sender:
    """Whoever sends a batch and reads its answers: gone, as if he had hung up, once nothing moves for `STALL_S`."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._gone = asyncio.Event()
        self._has_sent = False

    async def send(self, message: Message) -> None:
        """Send a message, or nothing to somebody who is gone."""
        if self._gone.is_set():
            return
        try:
            async with asyncio.timeout(STALL_S):
                await self._send(message)
        except TimeoutError:
            self._gone.set()

    async def receive(self) -> Message:
        """Return what he sends; that he hung up, when he is gone."""
        waits = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self._gone.wait())]
        try:
            limit_s = None if self._has_sent else STALL_S
            done, _ = await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if waits[0] not in done:
                return {"type": "http.disconnect"}
            message: Any = waits[0].result()
            self._has_sent = not message.get("more_body", False)
            return dict(message)
        finally:
            for wait in waits:
                wait.cancel()


def _error(start: Message) -> Response | None:
    """Return the problem for an error that the application has not worded itself, or None."""
    headers = {name.lower(): value for name, value in start.get("headers", [])}
    status = int(start["status"])
    if status < 400 or headers.get(b"content-type", b"").startswith(problems.MEDIA_TYPE.encode()):
        return None
    wait = headers.get(b"retry-after", b"1").decode("latin-1")
    if status == 429:
        return _answer(problems.problem(429, "busy", "too many requests wait; try again later"), wait)
    if status == 500:
        return _part_failed()
    if status == 408:
        logger.warning("a request was not done in its time")
        return _answer(problems.unavailable("timed_out", _TIMED_OUT), wait)
    not_ready = "the service is not up" if status == 404 else "a part of the service did not answer in time"
    return _answer(problems.unavailable("not_ready", not_ready), wait)


def _part_failed() -> Response:
    return _answer(problems.unavailable("part_failed", "a part of the service did not answer; try again"))


def _answer(found: Problem, wait: str = "1") -> Response:
    safe = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    again = {"Retry-After": wait} if found.status in {429, 503} else {}
    return problems.response(found, {**safe, **again})


def _name(header: bytes) -> str:
    """Return a header's name as Serve reads it: underscores are hyphens."""
    return header.decode("latin-1").lower().replace("_", "-")


def middlewares() -> list[Middleware]:
    """Return what Serve's proxies are wrapped in."""
    return [Middleware(Door)]
