"""The `http` engine: any endpoint of the OpenAI protocol (a vLLM server, Ollama, llama.cpp, a gateway)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import pyarrow as pa

from wristmir_ray.errors import ConfigError, EndpointGone, EndpointRefuses
from wristmir_ray.mining.answers import FailureClass
from wristmir_ray.mining.attempts import ANSWERS
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.mining.engines import protocol
from wristmir_ray.mining.engines.protocol import KEY_VARIABLE, TOKENS, Failed, Kind, ask_once, pause_s
from wristmir_ray.mining.isolation import ENGINE_DIED, MAX_DEATHS, Gate, company

HARMLESS = "Left wrist. No fracture."
"""A report that no endpoint dies of and none refuses: asked for, it tells the endpoint's failure from a report's."""
_KEPT = ("report_id", "text", *TOKENS, "hint")
_NAMED = 10
"""Models that an error names, at most."""


class AskEndpoint:
    """Holds the connections. Open rows of ATTEMPTS -> ANSWERS, 1:1.

    So many requests run at a time as `concurrency` says. What may be gone at the next try is tried
    again after a pause that doubles; an endpoint that is away is waited for. A report that was in
    flight when the connection broke, or that got a status such as 500, 502 or 503, is a suspect: once
    the endpoint answers a harmless report, it is asked again in smaller company, at last alone
    (`isolation`); for that, no other client may use the endpoint. What is refused although a harmless
    report is not, is the report's own failure. A report that fails for good has its failure class, its
    neighbours their answers.

    Args:
        config: where and how.

    Raises:
        EndpointGone: nothing was answered for `restart_wait_s`.
        EndpointRefuses: a harmless report is refused too.
    """

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self._harmless = protocol.request(config, HARMLESS)
        self._away_since: float | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        return pa.Table.from_pylist(asyncio.run(self._ask_all(batch.to_pylist())), ANSWERS)

    async def _ask_all(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        gate = Gate(company(self._config.concurrency))
        async with protocol.connect(self._config) as client:
            return await asyncio.gather(*(self._ask(client, gate, {n: row[n] for n in _KEPT}) for row in rows))

    async def _ask(self, client: httpx.AsyncClient, gate: Gate, row: dict[str, Any]) -> dict[str, Any]:
        """Return one report with its answer, or with its failure."""
        body = protocol.request(self._config, row["text"], row["hint"])
        for deaths in range(MAX_DEATHS):
            async with gate.enter(deaths):
                found = await self._answer(client, body)
                if not isinstance(found, Failed) or found.kind is not Kind.SUSPECT:
                    break
                found = await self._outlast(client, found)
        if isinstance(found, Failed):
            return {**row, **found.columns()}
        return {**row, **found, **{n: (row[n] or 0) + found[n] for n in TOKENS}}

    async def _answer(self, client: httpx.AsyncClient, body: Mapping[str, Any]) -> dict[str, Any] | Failed:
        """Ask until there is an answer, a suspicion, or a failure that stays."""
        failures = pauses = 0
        while True:
            found = await ask_once(client, body)
            if isinstance(found, Failed) and found.kind is Kind.SUSPECT:
                return found
            self._note(found)
            if isinstance(found, dict):
                return found
            failures += found.kind is Kind.PASSING
            if found.kind is Kind.REFUSED:
                await self._check_refusal(client)
            if found.kind is Kind.REFUSED or failures > self._config.retries:
                return found
            await asyncio.sleep(pause_s(pauses, self._config.backoff_s, found.asked_s))
            pauses += 1

    async def _outlast(self, client: httpx.AsyncClient, suspect: Failed) -> Failed:
        """Wait until the endpoint answers a harmless report; return the failure as the suspect's own, or as a death."""
        found, asked_s, pauses = suspect, suspect.asked_s, 0
        while True:
            await asyncio.sleep(pause_s(pauses, self._config.backoff_s, asked_s))
            harmless = await ask_once(client, self._harmless)
            self._note(harmless)
            if not isinstance(harmless, Failed) or not harmless.gone:
                return found
            found = replace(suspect, failure=FailureClass.ENGINE_DEATH, message=ENGINE_DIED)
            asked_s = harmless.asked_s
            pauses += 1

    async def _check_refusal(self, client: httpx.AsyncClient) -> None:
        """Raise EndpointRefuses where a harmless report is refused too: it is the run that is wrong, not a report."""
        found = await ask_once(client, self._harmless)
        if isinstance(found, Failed) and found.kind is Kind.REFUSED:
            raise EndpointRefuses(
                f"the endpoint at {self._config.url} refuses whatever it is asked ({found.message}); mend --http.url, "
                f"--http.model, --http.guided, --http.max_tokens or {KEY_VARIABLE}"
            )

    def _note(self, found: dict[str, Any] | Failed) -> None:
        """Remember since when nobody answers."""
        now = time.monotonic()
        self._away_since = (self._away_since or now) if isinstance(found, Failed) and found.gone else None
        if self._away_since is not None and now - self._away_since > self._config.restart_wait_s:
            raise EndpointGone(
                f"the endpoint at {self._config.url} has answered nothing for {self._config.restart_wait_s:g} s; "
                "start it again and run the job again: it goes on where it stopped"
            )


def check_endpoint(config: HttpConfig) -> None:
    """Raise ConfigError, before any work, when nobody answers at the endpoint, or it serves other models alone."""
    try:
        listing = protocol.list_models(config)
    except httpx.HTTPError as e:
        raise ConfigError(f"no endpoint answers at {config.url} ({type(e).__name__}); set --http.url") from None
    if listing.status_code in {401, 403}:
        raise ConfigError(f"the endpoint at {config.url} refuses the token; set {KEY_VARIABLE}")
    served = protocol.names(listing)
    if served and config.model not in served:
        named = ", ".join(served[:_NAMED]) + (f" and {len(served) - _NAMED} more" if len(served) > _NAMED else "")
        raise ConfigError(
            f"the endpoint at {config.url} serves no model {config.model}; set --http.model to one of: {named}"
        )
