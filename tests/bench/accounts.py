"""What the processes of a running service have taken, for `bench_http`."""

import os
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    sessions: Set[int]
    """Ids of the sessions of all of its processes."""


def cpu(service: Service) -> dict[tuple[int, float], float]:
    """Return CPU seconds so far of every process of a service, by id and start."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) in service.sessions:
                times = process.cpu_times()
                found[process.pid, process.create_time()] = times.user + times.system
    return found


def since(service: Service, before: Mapping[tuple[int, float], float]) -> float:
    """Return CPU seconds that a service has taken since `before`."""
    return sum(seconds - before.get(process, 0.0) for process, seconds in cpu(service).items())
