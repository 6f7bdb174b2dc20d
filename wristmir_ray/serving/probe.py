"""Readiness for probes that anyone may send: asked of the parts once a second at most, however many ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from wristmir_ray.serving import api
from wristmir_ray.serving.problems import ProblemError

KEPT_S = 1.0
"""For so long an answer is given again: a flood of probes must not fill the queues of the parts."""


class Probe:
    """Shares one check of the parts among all who ask for it; lives on one event loop.

    Args:
        check: asks every part; ProblemError where one does not answer.
        clock: monotonic seconds.
    """

    def __init__(
        self, check: Callable[[], Awaitable[api.Readiness]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check, self._clock = check, clock
        self._asked: asyncio.Task[api.Readiness | ProblemError] | None = None
        self._done_at = 0.0

    async def ready(self) -> api.Readiness:
        """Return that every part answers.

        Raises:
            ProblemError: one does not.
        """
        if self._asked is None or (self._asked.done() and self._clock() - self._done_at > KEPT_S):
            self._asked = asyncio.ensure_future(self._ask())
        found = await asyncio.shield(self._asked)  # one who goes away leaves the others their answer
        if isinstance(found, ProblemError):
            raise ProblemError(found.problem)
        return found

    async def _ask(self) -> api.Readiness | ProblemError:
        try:
            return await self._check()
        except ProblemError as e:
            return e
        finally:
            self._done_at = self._clock()
