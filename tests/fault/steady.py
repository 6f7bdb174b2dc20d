"""A steady load on a running service while something breaks, and what became of every request."""

import asyncio
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil

PER_S = 20
PATIENCE_S = 45.0
"""Of a client: more than the service's own limit of a request."""
LOST = 0
"""Status of a request that got no answer."""


@dataclass(frozen=True)
class Query:
    """Fields of one search's form; an image is bytes."""

    fields: Mapping[str, str | bytes]

    def form(self) -> aiohttp.FormData:
        """Return it as `curl -F` sends it."""
        data = aiohttp.FormData(default_to_multipart=True)
        for name, value in self.fields.items():
            data.add_field(name, value, filename="radiograph" if isinstance(value, bytes) else None)
        return data


@dataclass(frozen=True)
class Ended:
    """One request: which, when it was sent, and how it ended."""

    query: int
    at: float
    seconds: float
    status: int
    media: str
    body: bytes


@dataclass
class Load:
    """What was sent so far."""

    ended: list[Ended] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)


@contextmanager
def steady(url: str | Sequence[str], queries: Sequence[Query], per_s: float = PER_S, key: str = "") -> Iterator[Load]:
    """Send the queries in turn, `per_s` a second however long answers take; wait for all of them at the end.

    Of several addresses each is asked in turn, and the next one where one is away, as a balancer does.
    """
    urls = [url] if isinstance(url, str) else list(url)
    load, stop, failed = Load(), threading.Event(), []

    def run() -> None:
        try:
            asyncio.run(_send(urls, queries, per_s, load, stop, key))
        except Exception as e:
            failed.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


async def _send(
    urls: list[str], queries: Sequence[Query], per_s: float, load: Load, stop: threading.Event, key: str
) -> None:
    async with _session(key) as session:
        running: list[asyncio.Task[None]] = []
        while not stop.is_set():
            n = len(running)
            doors = urls[n % len(urls) :] + urls[: n % len(urls)]
            await asyncio.sleep(max(0.0, load.started + n / per_s - time.monotonic()))
            running.append(asyncio.create_task(_one(session, doors, queries, n % len(queries), load)))
        await asyncio.gather(*running)


def _session(key: str) -> aiohttp.ClientSession:
    connector, headers = aiohttp.TCPConnector(limit=0), {"Authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S), connector=connector, headers=headers)


async def _one(session: aiohttp.ClientSession, doors: list[str], queries: Sequence[Query], n: int, load: Load) -> None:
    started = time.monotonic()
    for url in doors:
        try:
            async with session.post(f"{url}/v1/search", data=queries[n].form()) as answer:
                status, media, body = answer.status, answer.content_type, await answer.read()
            break
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as e:
            status, media, body = LOST, "", type(e).__name__.encode()
    now = time.monotonic()
    load.ended.append(Ended(n, started - load.started, now - started, status, media, body))


def shown(body: bytes) -> Any:
    """Return what an answer says, without how long it took and which index says it."""
    said = json.loads(body)
    return {k: v for k, v in said.items() if k not in {"stage_ms", "lineage", "coverage", "token"}}


def replicas(sessions: set[int], name: str) -> list[psutil.Process]:
    """Return the worker processes of a deployment's replicas, of Rays whose processes are in these sessions."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            title = (process.cmdline() or [""])[0]
            if title.startswith(f"ray::ServeReplica:wristmir:{name}") and os.getsid(process.pid) in sessions:
                found.append(process)
    return found


Right = Mapping[str, Sequence[Any]]
"""Index run -> the right answer of each query."""


@dataclass
class Counts:
    """How the requests of a load ended."""

    sent: int = 0
    right: int = 0
    by_index: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Honest refusals by status and code."""
    lost: Counter[str] = field(default_factory=Counter)
    """Requests without an answer, by what the client saw."""
    other: Counter[str] = field(default_factory=Counter)
    """Any other answer: there must be none."""
    slowest_s: float = 0.0
    outage_s: float = 0.0
    """From the first refusal or loss to the last."""

    def told(self) -> dict[str, Any]:
        """Return it for a line of JSON."""
        found = {k: dict(v) if isinstance(v, Counter) else v for k, v in vars(self).items()}
        return {k: round(v, 2) if isinstance(v, float) else v for k, v in found.items()}


def count(ended: Sequence[Ended], right: Right) -> Counts:
    """Return how requests ended, each answer held against the right one of the index that it names."""
    found = Counts(sent=len(ended))
    bad = []
    for e in sorted(ended, key=lambda e: e.at):
        found.slowest_s = max(found.slowest_s, e.seconds)
        if e.status == 200:
            run = json.loads(e.body)["lineage"]["index"]
            found.by_index[run] += 1
            good = run in right and shown(e.body) == right[run][e.query]
            found.right, found.wrong = found.right + good, found.wrong + (not good)
            continue
        bad.append(e)
        if e.status == LOST:
            found.lost[e.body.decode()] += 1
        elif e.status in {429, 503} and e.media == "application/problem+json":
            found.refused[f"{e.status} {json.loads(e.body)['code']}"] += 1
        else:
            found.other[f"{e.status} {e.media} {e.body[:80]!r}"] += 1
    if bad:
        found.outage_s = max(e.at + e.seconds for e in bad) - bad[0].at
    return found


def right_answers(url: str, queries: Sequence[Query], key: str = "") -> list[Any]:
    """Ask each query once, in turn; every one must be answered."""
    load = Load()

    async def ask() -> None:
        async with _session(key) as session:
            for n in range(len(queries)):
                await _one(session, [url], queries, n, load)

    asyncio.run(ask())
    assert {e.status for e in load.ended} == {200}, [e for e in load.ended if e.status != 200][:1]
    return [shown(e.body) for e in load.ended]
