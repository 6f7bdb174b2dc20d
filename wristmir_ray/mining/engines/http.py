"""The `http` engine: any endpoint of the OpenAI protocol (a vLLM server, Ollama, llama.cpp, a gateway)."""

import asyncio
import json
import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pyarrow as pa

from wristmir_ray.errors import ConfigError, EndpointGone
from wristmir_ray.mining.answers import FailureClass, answer_schema
from wristmir_ray.mining.attempts import ANSWERS
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.mining.isolation import ENGINE_DIED, MAX_DEATHS, Gate, company
from wristmir_ray.mining.prompt import load_prompt

KEY_VARIABLE = "WRISTMIR_LLM_KEY"
"""Environment variable of the endpoint's bearer token; unset for an endpoint that wants none."""
_GATEWAY = frozenset({502, 503})
_PASSING = frozenset({408, 409, 425, 429, 504}) | _GATEWAY
"""Status codes that may be gone at the next try."""
_BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""A connection that ends before the answer: the endpoint may have died of one of the reports it was reading."""
_LONGEST_PAUSE_S = 60.0


class AskEndpoint:
    """Holds the connections. Open rows of ATTEMPTS -> ANSWERS, 1:1.

    So many requests run at a time as `concurrency` says; what fails in passing is tried again after
    a pause that doubles. An endpoint that is away is waited for. A report that was in flight when it
    broke off, or that it failed on (status 500: how a vLLM server says that its engine died), is
    asked again in smaller company, at last alone (`isolation`): for that, no other client may use the
    endpoint. A report that fails for good has its failure class, its neighbours their answers.

    Args:
        config: where and how.

    Raises:
        EndpointGone: nobody answered for `restart_wait_s`.
    """

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._away_since: float | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist(asyncio.run(self._ask_all(batch.to_pylist())), ANSWERS)

    async def _ask_all(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        gate = Gate(company(self._config.concurrency))
        async with _client(self._config) as client:
            return await asyncio.gather(*(self._ask(client, gate, {n: row[n] for n in _KEPT}) for row in rows))

    async def _ask(self, client: httpx.AsyncClient, gate: Gate, row: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of one report; the endpoint's death makes it a suspect."""
        failure = FailureClass.ENGINE_DEATH, ENGINE_DIED
        for deaths in range(MAX_DEATHS):
            async with gate.enter(deaths):
                try:
                    return {**row, **await self._answer(client, row)}
                except _BROKEN:
                    failure = FailureClass.ENGINE_DEATH, ENGINE_DIED
                except _Failed:
                    failure = await self._why(client)
        return {**row, "failure": failure[0].value, "message": failure[1]}

    async def _why(self, client: httpx.AsyncClient) -> tuple[FailureClass, str]:
        """Return whether a status 500 was the report's alone, or the endpoint's last."""
        await asyncio.sleep(self._config.backoff_s)
        try:
            await client.get("models")
        except httpx.HTTPError:
            return FailureClass.ENGINE_DEATH, ENGINE_DIED
        return FailureClass.ENGINE_ERROR, "status 500"

    async def _answer(self, client: httpx.AsyncClient, row: Mapping[str, Any]) -> dict[str, Any]:
        body = _body(self._config, row)
        failures = pauses = 0
        while True:
            answer = await _once(client, body, row)
            away = isinstance(answer, _Again) and answer.away
            self._note(away)
            if not isinstance(answer, _Again):
                return answer
            failures += not away
            if failures > self._config.retries:
                return {"failure": answer.failure.value, "message": answer.message}
            await asyncio.sleep(_pause_s(pauses, self._config.backoff_s, answer.pause))
            pauses += 1

    def _note(self, away: bool) -> None:
        now = time.monotonic()
        self._away_since = (self._away_since or now) if away else None
        if self._away_since is not None and now - self._away_since > self._config.restart_wait_s:
            raise EndpointGone(
                f"nobody has answered at {self._config.url} for {self._config.restart_wait_s:g} s; "
                "start the endpoint again and run the job again: it goes on where it stopped"
            )


class _Failed(Exception):
    """Status 500: the endpoint failed on this report, or with it."""


@dataclass(frozen=True)
class _Again:
    """A failure that may be gone at the next try."""

    failure: FailureClass
    message: str
    pause: str | None = None
    """What the endpoint asks for, s."""
    away: bool = False
    """Nobody answered, or a gateway did in the endpoint's place."""


async def _once(client: httpx.AsyncClient, body: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any] | _Again:
    """Return the answer's columns, a lasting failure's, or a passing one; a death is raised."""
    try:
        answer = await client.post("chat/completions", json=body)
        if answer.status_code == 200:
            return _read(answer.json(), row)
    except _BROKEN:
        raise
    except (httpx.ConnectError, httpx.ConnectTimeout) as e:
        return _Again(FailureClass.UNREACHABLE, type(e).__name__, away=True)
    except httpx.TimeoutException as e:
        return _Again(FailureClass.TIMEOUT, type(e).__name__)
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as e:
        return _Again(FailureClass.UNREACHABLE, type(e).__name__)
    if answer.status_code == 500:
        raise _Failed
    status = f"status {answer.status_code}"
    if answer.status_code in _PASSING:
        away = answer.status_code in _GATEWAY
        return _Again(FailureClass.ENGINE_ERROR, status, answer.headers.get("retry-after"), away)
    return {"failure": FailureClass.ENGINE_ERROR.value, "message": status}


_KEPT = ("report_id", "text", "tokens_in", "tokens_cached", "tokens_out", "hint")


def check_endpoint(config: HttpConfig) -> None:
    """Raise ConfigError, before any work, when nobody answers at the endpoint."""
    try:
        with httpx.Client(base_url=config.url, timeout=config.timeout_s, headers=_headers()) as client:
            answer = client.get("models")
    except httpx.HTTPError as e:
        raise ConfigError(f"no endpoint answers at {config.url} ({type(e).__name__}); set --http.url") from None
    if answer.status_code in {401, 403}:
        raise ConfigError(f"the endpoint at {config.url} refuses the token; set {KEY_VARIABLE}")


def _client(config: HttpConfig) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=config.concurrency)
    return httpx.AsyncClient(base_url=config.url, timeout=config.timeout_s, limits=limits, headers=_headers())


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _body(config: HttpConfig, row: Mapping[str, Any]) -> dict[str, Any]:
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
        "messages": load_prompt().messages(row["text"], row["hint"]),
        "temperature": 0,
        "max_tokens": config.max_tokens,
        **wanted,
    }


def _read(answer: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    choice, usage = answer["choices"][0], answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return {
        "answer": choice["message"]["content"],
        "cut": choice.get("finish_reason") == "length",
        "tokens_in": (row["tokens_in"] or 0) + int(usage.get("prompt_tokens") or 0),
        "tokens_cached": (row["tokens_cached"] or 0) + int(details.get("cached_tokens") or 0),
        "tokens_out": (row["tokens_out"] or 0) + int(usage.get("completion_tokens") or 0),
    }


def _pause_s(attempt: int, backoff_s: float, retry_after: str | None) -> float:
    """Return how long to wait: what the endpoint asks for, else a pause that doubles, with jitter."""
    try:
        return min(float(retry_after or ""), _LONGEST_PAUSE_S)
    except ValueError:
        return float(min(backoff_s * 2**attempt, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.5))
