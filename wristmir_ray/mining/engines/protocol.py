"""The OpenAI protocol: what is sent for a report, and what came of it: an answer, or a failure and what may be done."""

import json
import math
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from wristmir_ray.mining.answers import FailureClass, answer_schema
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.mining.isolation import ENGINE_DIED
from wristmir_ray.mining.prompt import load_prompt

KEY_VARIABLE = "WRISTMIR_LLM_KEY"
"""Environment variable of the endpoint's bearer token; unset for an endpoint that wants none."""
TOKENS = ("tokens_in", "tokens_cached", "tokens_out")

_PASSING = frozenset({408, 409, 425, 429, 504, 524, 529})
"""Status codes of an endpoint that is busy or was not done in time."""
_NEVER = frozenset({501, 505})
"""Of the status codes from 500 on, those that no death explains."""
_BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""A connection that ends before the answer."""
_LONGEST_PAUSE_S = 60.0
_MOST_TOKENS = 2**30 - 1
"""Of one answer, so that those of two fit int32."""


class Kind(StrEnum):
    """What may be done about a failure."""

    PASSING = "passing"
    """Ask again: status 408, 409, 425, 429, 504, 524, 529, no answer in time, or one that cannot be read."""
    AWAY = "away"
    """Ask again, whatever the report holds: no connection, so that nobody has seen it."""
    SUSPECT = "suspect"
    """The endpoint, or what its gateway stands for, may have died of the report: the connection broke, status 500, 502,
    503, or another from 500 on."""
    REFUSED = "refused"
    """Another try gets the same: status 400, 401, 404, 501, ..."""


@dataclass(frozen=True)
class Failed:
    """A request that brought no answer."""

    kind: Kind
    failure: FailureClass
    message: str
    asked_s: float = 0.0
    """The pause that the endpoint asks for."""

    @property
    def gone(self) -> bool:
        """Whether it may be that nobody is there who answers."""
        return self.kind in {Kind.AWAY, Kind.SUSPECT}

    def columns(self) -> dict[str, str]:
        """Return the columns of ANSWERS that say so."""
        return {"failure": self.failure.value, "message": self.message}


def connect(config: HttpConfig) -> httpx.AsyncClient:
    """Return the connections to an endpoint, `concurrency` at most."""
    limits = httpx.Limits(max_connections=config.concurrency)
    return httpx.AsyncClient(base_url=config.url, timeout=config.timeout_s, limits=limits, headers=_headers())


def list_models(config: HttpConfig) -> httpx.Response:
    """Return the endpoint's listing of its models, as it came; httpx.HTTPError where none did."""
    with httpx.Client(base_url=config.url, timeout=config.timeout_s, headers=_headers()) as client:
        return client.get("models")


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


def names(listing: httpx.Response) -> list[str]:
    """Return the models that a listing names, sorted; none where it is no such listing."""
    try:
        found = {str(model["id"]) for model in listing.json()["data"]}
    except (ValueError, LookupError, TypeError):
        return []
    return sorted(found) if listing.status_code == 200 else []


def request(config: HttpConfig, text: str, hint: str | None = None) -> dict[str, Any]:
    """Return what is sent for one report.

    Args:
        config: the model, and how it is asked for JSON.
        text: the report.
        hint: what was wrong with the first answer, where this is the second try.
    """
    guided: dict[str, Any] = {
        "json_schema": {
            "type": "json_schema",
            "json_schema": {"name": "record", "schema": json.loads(answer_schema()), "strict": True},
        },
        "json_object": {"type": "json_object"},
    }
    wanted = {"response_format": guided[config.guided]} if config.guided != "none" else {}
    return {
        "model": config.model,
        "messages": load_prompt().messages(text, hint),
        "temperature": 0,
        "max_tokens": config.max_tokens,
        **wanted,
    }


async def ask_once(client: httpx.AsyncClient, body: Mapping[str, Any]) -> dict[str, Any] | Failed:
    """Return the answer's columns of ANSWERS, or the failure; nothing that an endpoint does is raised."""
    answer = await _send(client, body)
    if isinstance(answer, Failed):
        return answer
    if answer.status_code == 200:
        try:
            return _read(answer.json())
        except Exception as e:  # what an endpoint sends is nobody's promise
            return Failed(Kind.PASSING, FailureClass.UNREADABLE, type(e).__name__)
    message = f"status {answer.status_code}"
    return Failed(_kind(answer.status_code), FailureClass.ENGINE_ERROR, message, _asked_s(answer.headers))


async def _send(client: httpx.AsyncClient, body: Mapping[str, Any]) -> httpx.Response | Failed:
    try:
        return await client.post("chat/completions", json=body)
    except _BROKEN:
        return Failed(Kind.SUSPECT, FailureClass.ENGINE_DEATH, ENGINE_DIED)
    except (httpx.ConnectError, httpx.ConnectTimeout) as e:
        return Failed(Kind.AWAY, FailureClass.UNREACHABLE, type(e).__name__)
    except httpx.TimeoutException as e:
        return Failed(Kind.PASSING, FailureClass.TIMEOUT, type(e).__name__)
    except Exception as e:  # one request costs its own report at most, never the batch
        return Failed(Kind.PASSING, FailureClass.UNREACHABLE, type(e).__name__)


def _kind(status: int) -> Kind:
    if status in _PASSING:
        return Kind.PASSING
    return Kind.SUSPECT if status >= 500 and status not in _NEVER else Kind.REFUSED


def _read(answer: Any) -> dict[str, Any]:
    """Return the columns of an answer; any exception where it is none of the protocol, or no Unicode."""
    choice = answer["choices"][0]
    written = choice["message"]["content"]
    if written is not None and not isinstance(written, str):
        raise TypeError("an answer is text")
    (written or "").encode()  # half a surrogate pair would cost the whole batch in Arrow
    usage = _mapping(answer.get("usage"))
    return {
        "answer": written,
        "cut": choice.get("finish_reason") == "length",
        "tokens_in": _count(usage.get("prompt_tokens")),
        "tokens_cached": _count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        "tokens_out": _count(usage.get("completion_tokens")),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int:
    """Return a count of tokens; 0 for what is none."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else 0


def _asked_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that `retry-after` asks for; 0 where it asks for none, or for a date."""
    try:
        asked = float(headers.get("retry-after", ""))
    except ValueError:
        return 0.0
    return asked if math.isfinite(asked) else 0.0


def pause_s(pauses: int, backoff_s: float, asked_s: float) -> float:
    """Return how long to wait before the next try: a pause that doubles, with jitter, or what is asked for if longer.

    Args:
        pauses: those before it.
        backoff_s: the first pause.
        asked_s: what the endpoint asks for.

    Returns:
        Seconds, 60 at most.
    """
    doubled = backoff_s * 2.0 ** min(pauses, 16) * random.uniform(0.5, 1.5)
    return min(max(doubled, asked_s), _LONGEST_PAUSE_S)
