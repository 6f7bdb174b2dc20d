"""What a request's body may be, looked at before anything parses it."""

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wristmir_ray.serving import problems

MAX_FORM_BYTES = 64 * 2**10
"""Of a form without files: its parser takes a second for each megabyte of ampersands, and serves nobody meanwhile."""
_DIGITS = 18
"""Of a declared length: more name no body that anyone sends, and a huge number costs time to read."""


class BodyLimit:
    """ASGI middleware: ends a request whose body grows beyond `max_bytes`, declared or not.

    Args:
        app: what is guarded.
        max_bytes: of a body.
        detail: of the problem, for people.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, detail: str) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._detail = detail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, counting the bytes that come in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        most, detail = self._max_bytes, self._detail
        if headers.get(b"content-type", b"").lower().startswith(b"application/x-www-form-urlencoded"):
            most, detail = min(most, MAX_FORM_BYTES), "send what is larger as multipart/form-data"
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > _DIGITS or int(declared) > most):
            await problems.response(problems.problem(413, "upload_too_large", detail))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                raise HTTPException(413, detail)
            return message

        await self._app(scope, counted, send)
