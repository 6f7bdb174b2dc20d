"""ASGI middleware before every route: request id, API key, rate limit, audit log, counters."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette._utils import get_route_path
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wristmir_ray.serving import problems
from wristmir_ray.serving.access import ANYONE, Caller, Keys, Role
from wristmir_ray.serving.limits import Buckets, RateLimit
from wristmir_ray.serving.meter import Meter
from wristmir_ray.serving.problems import ProblemError

log = logging.getLogger("wristmir_ray.audit")

REQUEST_ID = "X-Request-Id"
OPEN = frozenset({"/healthz", "/readyz"})
"""Addresses that need no key and are not limited: probes of a balancer. They tell more to the holder of a key."""
ROLES: Mapping[str, Role] = {"/metrics": Role.ADMIN}
"""Addresses that need more than reading."""

NOT_ANSWERED = 499
"""Status of a request whose sender was gone before it was answered, or whose time was up: `request_timeout_s`."""

SENT_ID = re.compile(r"[A-Za-z0-9_.-]{8,64}")
"""Of a request, that its sender may choose."""
_BEARER = "bearer "
_PASS = "wristmir.pass"
_SAFE = {b"x-content-type-options": b"nosniff", b"cache-control": b"no-store"}
"""Headers of every answer that says nothing else: what is told of exams stays in nobody's cache."""


@dataclass(frozen=True)
class Pass:
    """What a route may know of who asks."""

    caller: Caller | None
    """None: nobody we know, who may ask at `OPEN` alone."""
    charge: Callable[[int], None]
    """Takes what the request costs beside the one token it has paid; ProblemError (429) where that is too much."""


def pass_of(request: HTTPConnection) -> Pass:
    """Return what the guard has found out of a request's sender."""
    found: Pass = request.scope[_PASS]
    return found


class Guard:
    """Lets a request pass, or answers it itself; says of each who asked for what, and how it ended.

    The audit line holds the caller's name, method, route, status, milliseconds and bytes received: no query, no file
    name, no exam.

    Args:
        app: what is guarded.
        keys: whose requests are served; None: anyone's.
        limit: how many of one caller; None: any number.
        meter: counts.
    """

    def __init__(self, app: ASGIApp, keys: Keys | None, limit: RateLimit | None, meter: Meter) -> None:
        self._app, self._keys, self._meter = app, keys, meter
        # Few buckets are kept: strangers from many addresses must not push out that of a key, and with it its debts.
        self._of_keys = Buckets(limit) if limit else None
        self._of_addresses = Buckets(limit) if limit else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, send)
        try:
            self._check(request)
            await self._app(scope, request.receive, request.send)
        except ProblemError as e:
            await problems.response(e.problem, e.headers)(scope, receive, request.send)
        except Exception as e:
            log.error("a request failed", extra={"fields": {"request_id": request.id, "reason": type(e).__name__}})
            if request.status != NOT_ANSWERED:
                raise  # the answer has begun: the connection ends
            await problems.response(problems.internal())(scope, receive, request.send)
        finally:
            self._say(request)

    def _check(self, request: "_Request") -> None:
        """Raise where the request must not pass. The path is the one that routes are matched with."""
        path = get_route_path(request.scope)
        request.caller = self._caller(request.headers)
        if path in OPEN:
            self._probed(request)
        else:
            self._pass(request, ROLES.get(path.rstrip("/"), Role.READ))
        if not path.isprintable():  # a route's pattern lets a line feed pass at its end
            raise ProblemError(problems.unknown_address())
        request.scope[_PASS] = Pass(request.caller, partial(_charge, self._buckets(request), request.payer))

    def _probed(self, request: "_Request") -> None:
        """Forget whose key a probe has brought, where too many were tried."""
        buckets = self._buckets(request)
        if request.headers.get("authorization") and buckets and buckets.wait_s(request.payer) > 0:
            request.caller = None

    def _pass(self, request: "_Request", role: Role) -> None:
        buckets = self._buckets(request)
        if buckets and (wait_s := buckets.wait_s(request.payer)) > 0:
            raise problems.too_many_requests(wait_s)
        if request.caller is None:
            no_key = problems.problem(401, "no_key", "send a valid API key: Authorization: Bearer KEY")
            raise ProblemError(no_key, {"WWW-Authenticate": "Bearer"})
        if not request.caller.may(role):
            raise ProblemError(problems.problem(403, "not_allowed", f"this needs a key of role {role}"))

    def _caller(self, headers: Mapping[str, str]) -> Caller | None:
        if self._keys is None:
            return ANYONE
        sent = headers.get("authorization", "")
        key = sent[len(_BEARER) :].strip() if sent.lower().startswith(_BEARER) else ""
        return self._keys.caller(key) if key else None

    def _buckets(self, request: "_Request") -> Buckets | None:
        return self._of_keys if request.has_key else self._of_addresses

    def _say(self, request: "_Request") -> None:
        route, seconds = request.route, time.perf_counter() - request.started
        self._meter.request(route, request.status, seconds)
        fields = {
            "request_id": request.id,
            "caller": request.caller.name if request.caller else None,
            "method": request.scope["method"],
            "route": route,
            "status": request.status,
            "ms": round(1e3 * seconds, 1),
            "bytes": request.received,
        }
        log.info("request", extra={"fields": fields})


def _charge(buckets: Buckets | None, payer: str, tokens: int) -> None:
    if buckets and (wait_s := buckets.charge_s(payer, tokens)) > 0:
        raise problems.too_many_requests(wait_s)


class _Request:
    """One request on its way: what was received, and how it ended."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        sent = self.headers.get(REQUEST_ID.lower(), "")
        self.id = sent if SENT_ID.fullmatch(sent) else uuid.uuid4().hex
        self.started = time.perf_counter()
        self.caller: Caller | None = None
        self.status = NOT_ANSWERED
        self.received = 0

    @property
    def has_key(self) -> bool:
        return self.caller not in (None, ANYONE)

    @property
    def payer(self) -> str:
        """Whose rate it counts for: its key's, or its address's, so that keys cannot be tried at will."""
        if self.has_key:
            return f"key {self.caller}"
        client = self.scope.get("client")
        return f"address {client[0] if client else 'unknown'}"

    @property
    def route(self) -> str:
        """The route's template, such as /v1/exams/{exam_id}: no id, and no address that nobody serves."""
        return str(getattr(self.scope.get("route"), "path", "none"))

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            named: Any = (REQUEST_ID.lower().encode(), self.id.encode())
            kept = [h for h in message.get("headers", []) if h[0].lower() != named[0]]
            said = {h[0].lower() for h in kept}
            safe = [h for h in _SAFE.items() if h[0] not in said]
            message = {**message, "headers": [*kept, *safe, named]}
        await self._send(message)
