"""Engines that read one report at a time, in process. Language models answer whole batches: `engines`."""

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from wristmir_ray.mining.findings import Record
from wristmir_ray.mining.rules import RulesEngine


class Engine(Protocol):
    """Reads one report; `stages` holds what it gives against the report."""

    name: str

    def mine(self, report: str) -> Record:
        """Return the record of a report; `errors.Reject` where there is none to give."""
        ...


ENGINES: dict[str, Callable[[], Engine]] = {"rules": RulesEngine}


@lru_cache(maxsize=1)
def load_engine(name: str) -> Engine:
    """Return the engine of that name, made once a process."""
    return ENGINES[name]()
