"""One computation an exam, whoever asks: requests wait for one another's, batches are filled from all of them."""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from wristmir_ray import keys
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.unstored import Found, Source
from wristmir_ray.serving.onthefly.cache import Cache

log = logging.getLogger(__name__)

Batch = Callable[[Sequence[Source], Region], Awaitable[Sequence[Found | None]]]
"""(sources, region) -> what came of each; None: nothing that would come again (a store is away)."""

LEAST_ROWS = 8
"""Of a call, while more wait: below it the calls themselves are felt, and an encoder that pads its batches."""
MOST_FAILED = 100_000
"""Images that cannot be used and are remembered."""
WRITE_AFTER_S = 1.0
"""What is computed is written after so long: what a crash can lose, and what keeps files few."""


@dataclass
class _Flight:
    source: Source
    region: Region
    landed: "asyncio.Future[Found | None]"
    waiting: int = 0
    started: bool = field(default=False)


class Flights:
    """Answers what is in the cache, computes the rest; lives on one event loop.

    Args:
        cache: of facts.
        batch: computes.
    """

    def __init__(self, cache: Cache, batch: Batch) -> None:
        self.cache = cache
        self._batch = batch
        self.set(batch_rows=16, at_once=4, retry_after_s=300.0)
        self._flights: OrderedDict[str, _Flight] = OrderedDict()
        self._waiting = 0
        """Flights that are not started."""
        self._failed: dict[str, tuple[float, Found]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._writer: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()

    def set(self, batch_rows: int, at_once: int, retry_after_s: float) -> None:
        """Set sources a call, calls under way, and for how long an image that cannot be used is not tried again."""
        self._batch_rows, self._at_once, self._retry_after_s = batch_rows, at_once, retry_after_s

    async def find(self, sources: Sequence[Source], region: Region, seconds: float) -> list[Found | None]:
        """Return what came of each source's region in time, in their order; None: nothing yet.

        What nobody waits for any more is not begun; what is under way is finished and kept.
        """
        names = [key_of(s, region) for s in sources]
        known = [self._known(name) for name in names]
        unknown = {n: s for n, s, k in zip(names, sources, known, strict=True) if k is None}
        mine = {n: self._join(n, s, region) for n, s in unknown.items()}
        self._pump()
        try:
            if mine:
                await asyncio.wait([f.landed for f in mine.values()], timeout=max(0.0, seconds))
        finally:
            for name, flight in mine.items():
                self._leave(name, flight)
        landed = {n: f.landed.result() for n, f in mine.items() if f.landed.done() and not f.landed.cancelled()}
        return [k if k is not None else landed.get(n) for n, k in zip(names, known, strict=True)]

    def figures(self) -> dict[str, float]:
        """Return counters since the start, and what is held: for the service's metrics."""
        counted = {n: self._counts[n] for n in ("cached", "joined", "computed", "unusable", "not_computed", "calls")}
        held = {"cache_rows": len(self.cache), "cache_write_failures": self.cache.write_failures}
        return {**counted, **held, "under_way": len(self._flights)}

    def _known(self, name: str) -> Found | None:
        found = self.cache.get(name)
        if found is None and name in self._failed:
            until, failed = self._failed[name]
            if time.monotonic() < until:
                found = failed
            else:
                del self._failed[name]
        self._counts["cached"] += found is not None
        return found

    def _join(self, name: str, source: Source, region: Region) -> _Flight:
        flight = self._flights.get(name)
        if flight is None:
            landed: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
            flight = self._flights[name] = _Flight(source, region, landed)
            self._waiting += 1
        else:
            self._counts["joined"] += 1
        flight.waiting += 1
        return flight

    def _leave(self, name: str, flight: _Flight) -> None:
        flight.waiting -= 1
        if not flight.waiting and not flight.started and self._flights.get(name) is flight:
            del self._flights[name]
            self._waiting -= 1
            flight.landed.cancel()

    def _pump(self) -> None:
        """Begin calls while there is room and work: the oldest first, one region a call.

        Towards the end of what waits calls grow smaller, so that replicas finish together.
        """
        while len(self._calls) < self._at_once:
            waiting = ((n, f) for n, f in self._flights.items() if not f.started)
            first = next(waiting, None)
            if first is None:
                return
            rows = min(self._batch_rows, max(LEAST_ROWS, -(-self._waiting // self._at_once)))
            alike = ((n, f) for n, f in waiting if f.region is first[1].region)
            chosen = [first, *islice(alike, rows - 1)]
            self._waiting -= len(chosen)
            for _, flight in chosen:
                flight.started = True
            call = asyncio.ensure_future(self._call(chosen))
            self._calls.add(call)
            call.add_done_callback(self._called)

    def _called(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._pump()

    async def _call(self, chosen: Sequence[tuple[str, _Flight]]) -> None:
        found: Sequence[Found | None] = [None] * len(chosen)
        self._counts["calls"] += 1
        try:
            found = await self._batch([f.source for _, f in chosen], chosen[0][1].region)
        except Exception as e:  # a dying replica, a full queue: who waits is told nothing yet, and may ask again
            log.error("a batch was not computed", extra={"fields": {"reason": type(e).__name__, "rows": len(chosen)}})
        for (name, flight), one in zip(chosen, found, strict=True):
            self._land(name, flight, one)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.ensure_future(self._write())

    def _land(self, name: str, flight: _Flight, found: Found | None) -> None:
        del self._flights[name]
        if found is None:
            self._counts["not_computed"] += 1
        elif found.state.is_fact:
            self._counts["computed"] += 1
            self.cache.put(name, found)
        else:
            self._counts["unusable"] += 1
            if len(self._failed) >= MOST_FAILED:
                self._failed.clear()
            self._failed[name] = (time.monotonic() + self._retry_after_s, found)
        if not flight.landed.done():
            flight.landed.set_result(found)

    async def _write(self) -> None:
        while self.cache.is_behind:  # also of what came while the rows before it were written
            await asyncio.sleep(WRITE_AFTER_S)
            if not await asyncio.to_thread(self.cache.flush):
                return


def key_of(source: Source, region: Region) -> str:
    """Return the content address of one exam's region: what is computed of the same pixels is the same.

    The cache's own folder stands for the detectors, the encoder and all settings.
    """
    image = source.pixel_id or f"{source.exam_id} {source.uri}"
    box = source.wrist
    cut = f"{box.x0_px} {box.y0_px} {box.x1_px} {box.y1_px} {source.side or ''}"
    return keys.digest("bone", image, cut, region.value)
