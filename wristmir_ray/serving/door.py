"""ASGI middleware of Serve's own proxies, outside of all that they do: one request id, no headers that steer Serve.

    export RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=wristmir_ray.serving.door:middlewares    # before Ray starts

Serve puts an `X-Request-Id` of its own on each answer, takes whatever was sent as one (a byte that is no UTF-8 ends in
a bare 500), and lets a request's headers switch its time limit off. Nothing of that can be reached from inside an
application.
"""

import uuid

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wristmir_ray.serving.guard import REQUEST_ID, SENT_ID

_ID = REQUEST_ID.lower().encode()
_STEERING = frozenset(
    {"x-request-timeout-seconds", "x-request-disconnect-disabled", "serve-multiplexed-model-id", "x-session-id"}
)
"""Headers by which Serve lets a sender choose its time limit, what becomes of it when he goes, and its replica."""


class Door:
    """Gives each request one id, and each answer the same one, once.

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
        named = (_ID, kept.encode())

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [h for h in message.get("headers", []) if h[0].lower() != _ID]
                message = {**message, "headers": [*others, named]}
            await send(message)

        others = [h for h in scope["headers"] if h[0].lower() != _ID and _name(h[0]) not in _STEERING]
        await self._app({**scope, "headers": [*others, named]}, receive, send_named)


def _name(header: bytes) -> str:
    """Return a header's name as Serve reads it: underscores are hyphens."""
    return header.decode("latin-1").lower().replace("_", "-")


def middlewares() -> list[Middleware]:
    """Return what Serve's proxies are wrapped in."""
    return [Middleware(Door)]
