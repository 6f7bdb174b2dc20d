"""How often one caller may ask: a token bucket each."""

import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import Field

from wristmir_ray.config import Section

MOST_CALLERS = 10_000
"""Buckets that are kept; the one that was used longest ago goes first, and was full by then."""


class RateLimit(Section):
    """Requests of one caller; an ingress replica counts for itself."""

    per_s: float = Field(20.0, gt=0, description="requests a second in the long run")
    burst: int = Field(60, ge=1, description="requests at once after a pause")


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
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (float(self._limit.burst), now))
        tokens = min(float(self._limit.burst), tokens + (now - then) * self._limit.per_s)
        taken = tokens >= 1
        self._buckets[caller] = (tokens - 1 if taken else tokens, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self._limit.per_s
