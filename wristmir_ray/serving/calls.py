"""Calls from one part of the service's graph to others: how long they are waited for, and what becomes of failures."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from grpc.aio import AioRpcError
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from wristmir_ray.retrieval.cut import Share
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.problems import ProblemError

logger = logging.getLogger(__name__)

T = TypeVar("T")

PART_TIMEOUT_S = 20.0
"""Of a call to one part. Below `request_timeout_s` of serve_config.yaml, so that its silence is told in our words."""
SHARD_TIMEOUT_S = 6.0
"""Of one call to a shard: a search has three, one after the other, and five where regions are computed."""
LOAD_TIMEOUT_S = 600.0
"""Of a shard that opens its share of a run."""


async def value(response: Awaitable[Any], kind: type[T], timeout_s: float = PART_TIMEOUT_S) -> T:
    """Await a part's answer; a problem, a full queue, a dying or missing replica becomes a ProblemError.

    An exception inside a part comes as RayTaskError where parts call each other as tasks of Ray, and as it is by gRPC.
    """
    try:
        async with asyncio.timeout(timeout_s) as waited:
            found = await response
    except BackPressureError:
        raise ProblemError(busy()) from None
    except TimeoutError as e:
        if not waited.expired():  # the part's own
            raise ProblemError(problems.internal()) from e
        raise ProblemError(problems.unavailable("not_ready", "a part of the service is not up")) from None
    except (RayServeException, RayError, AioRpcError) as e:
        if isinstance(e, RayTaskError):  # an exception of ours in a part: another try would meet it again
            raise ProblemError(problems.internal()) from e
        raise ProblemError(problems.unavailable("part_failed", "a part of the service did not answer")) from e
    except ProblemError:  # of a part in this process
        raise
    except Exception as e:
        logger.exception("a part failed")  # of one in this process nobody else tells
        raise ProblemError(problems.internal()) from e
    if isinstance(found, api.Problem):
        raise ProblemError(found)
    if not isinstance(found, kind):
        raise TypeError(f"a part answered with {type(found).__name__} instead of {kind.__name__}")
    return found


def busy() -> api.Problem:
    """Return what is said where a part has too much to do."""
    return problems.unavailable("busy", "too many requests wait; try again in a second")


async def told(work: Awaitable[T]) -> T | api.Problem:
    """Return what comes of work, or its problem as a value: as an exception it would reach the caller wrapped."""
    try:
        return await work
    except ProblemError as e:
        return e.problem


async def hold(shards: Sequence[Any], shares: Sequence[Share], timeout_s: float) -> None:
    """Have every replica of each shard open its share; ProblemError (503) where one cannot."""

    async def one(shard: Any, share: Share) -> None:
        await value(shard.hold.remote(share), bool, timeout_s)  # waits for a first replica to come up
        for held in await value(shard.broadcast("hold", share).results_async(), list, timeout_s):
            if isinstance(held, api.Problem):
                raise ProblemError(held)

    await asyncio.gather(*(one(*pair) for pair in zip(shards, shares, strict=True)))


class Near:
    """A part in this process, asked as a handle asks one in another: `near.search.remote(query)`.

    Args:
        part: whose methods are asked.
        most: calls under way; what comes beyond is refused (503), as a replica's full queue does.
    """

    def __init__(self, part: Any, most: int = 192) -> None:
        self._part = part
        self._most = most
        self._under_way = 0

    def __getattr__(self, method: str) -> SimpleNamespace:
        return SimpleNamespace(remote=partial(self._ask, getattr(self._part, method)))

    async def _ask(self, work: Callable[..., Awaitable[T]], *args: Any) -> T | api.Problem:
        if self._under_way >= self._most:
            return busy()
        self._under_way += 1
        try:
            return await work(*args)
        finally:
            self._under_way -= 1


class Scatter:
    """Asks shards of a run, all at once; for threads, which wait while the event loop does (`retrieval.scattered.Ask`).

    Args:
        shards: handles of the deployments, by number.
        shares: what each is asked for.
        loop: of this replica.
    """

    def __init__(self, shards: Sequence[Any], shares: Sequence[Share], loop: asyncio.AbstractEventLoop) -> None:
        self._shards = shards
        self._shares = shares
        self._loop = loop

    def __call__(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """Return each shard's answer; ProblemError (503) where one has none in time."""

        async def every() -> list[Any]:
            return list(await asyncio.gather(*(self._ask(i, method, args) for i, args in calls.items())))

        answers = asyncio.run_coroutine_threadsafe(every(), self._loop).result()
        return dict(zip(calls, answers, strict=True))

    async def _ask(self, i: int, method: str, args: tuple[Any, ...]) -> Any:
        return await value(self._shards[i].ask.remote(self._shares[i], method, *args), object, SHARD_TIMEOUT_S)
