"""Which report kills its engine: those that were in flight are asked again in ever smaller company.

When an engine dies, every report that was with it is a suspect. Suspects are read apart from all
others, about a square root of the usual number at a time; those in flight at a second death are
read one by one; whoever kills the engine alone is set apart. So a poisoned report costs three
engine starts, and its neighbours nothing but time.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

MAX_DEATHS = 3
"""So often a report may be in flight when an engine dies: the third time it was alone."""

ENGINE_DIED = "EngineDied"
"""The error of a report that was alone with an engine when it died."""


def company(concurrency: int) -> dict[int, int]:
    """Return how many reports are read at a time, by the deaths they have seen.

    Args:
        concurrency: reports at a time in quiet times.
    """
    return {0: concurrency, 1: math.isqrt(max(1, concurrency)), 2: 1}


class Gate:
    """Lets reports in: only those that have seen equally many deaths at a time, suspects first.

    Args:
        limits: deaths seen -> reports at a time.
    """

    def __init__(self, limits: Mapping[int, int]) -> None:
        self._limits = dict(limits)
        self._changed = asyncio.Condition()
        self._waiting: Counter[int] = Counter()
        self._inside: Counter[int] = Counter()

    @asynccontextmanager
    async def enter(self, deaths: int) -> AsyncIterator[None]:
        """Wait until a report that has seen so many deaths may be read, and hold its place."""
        async with self._changed:
            self._waiting[deaths] += 1
            try:
                await self._changed.wait_for(lambda: self._may_enter(deaths))
            finally:
                self._waiting[deaths] -= 1
            self._inside[deaths] += 1
        try:
            yield
        finally:
            async with self._changed:
                self._inside[deaths] -= 1
                self._changed.notify_all()

    def _may_enter(self, deaths: int) -> bool:
        others = sum(n for level, n in self._inside.items() if level != deaths)
        more_suspect = sum(n for level, n in self._waiting.items() if level > deaths)
        return not others and not more_suspect and self._inside[deaths] < self._limits[deaths]


class DeathLedger:
    """Remembers which engine reads which report, beyond the engine's death. One for all engines of a job."""

    def __init__(self) -> None:
        self._reader: dict[str, str] = {}
        self._deaths: Counter[str] = Counter()

    def arrive(self, report_id: str, engine: str) -> int:
        """Return how many engines have died while they read this report.

        Args:
            report_id: the report.
            engine: name of the engine that asks, another one after every start.
        """
        reader = self._reader.pop(report_id, engine)
        if reader != engine:
            self._deaths[report_id] += 1
        return self._deaths[report_id]

    def begin(self, report_id: str, engine: str) -> None:
        """Note that the engine reads the report from now on."""
        self._reader[report_id] = engine

    def end(self, report_id: str) -> None:
        """Note that the report was read: it is innocent."""
        self._reader.pop(report_id, None)
        self._deaths.pop(report_id, None)
