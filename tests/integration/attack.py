"""Malformed requests against a running service: how each ended, and what the replicas' memory did."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
import psutil

from tests.malformed import NO_ANSWER, Malformed, send, status_of


@dataclass
class Outcome:
    """What came of all requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    by_kind: dict[str, Counter[int]] = field(default_factory=dict)
    unexpected: list[tuple[str, int, bytes]] = field(default_factory=list)
    """Kind, status and the request's head, of what ended neither with 4xx nor, unfinished, without an answer."""
    rss_mib: dict[str, list[float]] = field(default_factory=dict)
    """Replica -> resident memory, measured at even distances."""

    def slopes(self, skip: int) -> dict[str, float]:
        """Return MiB a measurement by which each replica grows, without the first `skip` measurements."""
        kept = {name: values[skip:] for name, values in self.rss_mib.items()}
        return {name: float(np.polyfit(range(len(v)), v, 1)[0]) for name, v in kept.items() if len(v) > 1}


def attack(
    url: str, requests: Iterable[Malformed], memory: Callable[[], dict[str, float]] = dict, every: int = 50
) -> Outcome:
    """Send requests one after another; measure memory before, after, and after every so many."""
    found, address = Outcome(), urlsplit(url)
    assert address.hostname
    assert address.port
    for n, sent in enumerate(requests):
        if n % every == 0:
            _note(found, memory())
        status = status_of(sent, send(address.hostname, address.port, sent))
        found.statuses[status] += 1
        found.by_kind.setdefault(sent.kind, Counter())[status] += 1
        if not (400 <= status < 500 or (status == NO_ANSWER and sent.unfinished)):
            found.unexpected.append((sent.kind, status, sent.raw[:300]))
    _note(found, memory())
    return found


def _note(found: Outcome, memory: dict[str, float]) -> None:
    for name, mib in memory.items():
        found.rss_mib.setdefault(name, []).append(mib)


def replicas_mib(session: int) -> dict[str, float]:
    """Return the resident MiB of each replica and proxy among the processes of a session."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) != session:
                continue
            title = process.cmdline()[0] if process.cmdline() else ""
            if title.startswith(("ray::ServeReplica", "ray::ProxyActor")):
                name = title.removeprefix("ray::").split(".")[0].split()[0]
                found[f"{name} {process.pid}"] = process.memory_info().rss / 2**20
    return found
