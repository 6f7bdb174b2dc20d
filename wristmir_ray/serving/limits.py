"""How often one caller may ask: a token bucket each."""

import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import Field

from wristmir_ray.config import Section

MOST_CALLERS = 10_000
"""Buckets that are kept; the one that was used longest ago goes first, and was full by then."""


class RateLimit(Section):
    """Requests of one caller, a batch's queries one by one; an ingress replica counts for itself."""

    per_s: float = Field(20.0, gt=0, description="requests or a batch's queries a second in the long run")
    burst: int = Field(60, ge=1, description="of them at once after a pause; a larger batch is paid off afterwards")


class Buckets:
    """The callers' buckets.

    Args:
        limit: their size and inflow.
        clock: monotonic seconds.
    """

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """Take a token; return 0, or, where there is none, the seconds until there is one."""
        return self._take(caller, 1, needed=1)

    def charge_s(self, caller: str, tokens: int) -> float:
        """Take what a request costs beside its own token; return 0, or the seconds until it should come again.

        A request that costs more than a full bucket holds is taken from a rested caller all the same: his bucket then
        owes the rest, and he waits until it has flowed in.
        """
        needed = min(tokens, self._limit.burst - 1)
        wait_s = self._take(caller, tokens, needed)
        return wait_s and wait_s + 1 / self._limit.per_s  # it takes its own token again when it comes

    def _take(self, caller: str, cost: int, needed: int) -> float:
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (float(self._limit.burst), now))
        tokens = min(float(self._limit.burst), tokens + (now - then) * self._limit.per_s)
        taken = tokens >= needed
        self._buckets[caller] = (tokens - cost if taken else tokens, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (needed - tokens) / self._limit.per_s
