"""A shard of the archive: opens the shares of the index that it is asked for, and answers for their rows.

    Search --(share, method, arguments)--> Shard0, Shard1, ...

Whoever asks names the run and the rows that are meant. So no answer mixes two runs while one is swapped for another,
nor two ways to cut one while the number of shards is changed; and a replica that was started anew opens what it is
asked for. A share that nobody asks for any more is let go.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from wristmir_ray import log, storage
from wristmir_ray.config import LogConfig
from wristmir_ray.errors import WristmirError
from wristmir_ray.retrieval.cut import Cut, Share
from wristmir_ray.retrieval.index import NAME, Index, describe
from wristmir_ray.retrieval.scattered import ASKED
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.config import ServeArgs

logger = logging.getLogger(__name__)

KEPT_S = 900.0
"""For so long a share is held that nobody asks for: longer than the slowest shard of a run may take to open its own
(`calls.LOAD_TIMEOUT_S`), for which the others wait with theirs."""


class Shares:
    """The shares that are asked for, each opened once however many wait for it; lives on one event loop.

    Args:
        load: opens one.
        clock: monotonic seconds.
    """

    def __init__(self, load: Callable[[Share], Index], clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._clock = load, clock
        self._held: dict[Share, Index] = {}
        self._opening: dict[Share, asyncio.Task[Index]] = {}
        self._asked: dict[Share, float] = {}

    def __len__(self) -> int:
        return len(self._held)

    def open(self, share: Share) -> None:
        """Open a share before any is asked for; where it cannot be, it is logged: another may be asked for."""
        try:
            self._held[share] = self._load(share)
            self._asked[share] = self._clock()
        except Exception as e:
            _log_unopened(share, e)

    async def get(self, share: Share) -> Index:
        """Return a share, opened; raises as `load` does, and then tries again for whoever asks next."""
        if share not in self._held:
            if share not in self._opening:
                self._opening[share] = asyncio.ensure_future(self._open(share))
            return await asyncio.shield(self._opening[share])  # one who goes away leaves the others theirs
        self._asked[share] = self._clock()
        return self._held[share]

    async def _open(self, share: Share) -> Index:
        try:
            index = await asyncio.to_thread(self._load, share)
        finally:
            del self._opening[share]
        self._held[share], self._asked[share] = index, self._clock()
        return index

    def release(self) -> None:
        """Let go what was not asked for lately; what was asked for last stays, however long ago."""
        now, latest = self._clock(), max(self._asked.values(), default=0.0)
        for share, asked in list(self._asked.items()):
            if asked < latest and now - asked > KEPT_S:
                del self._asked[share], self._held[share]


class Shard:
    """The deployment: `Shard0` and so on, each with replicas and resources of its own.

    Args:
        args: of the application.
        share: what it is most likely asked for first.
    """

    def __init__(self, args: ServeArgs, share: Share) -> None:
        log.setup(LogConfig())
        self._shares = Shares(lambda s: Index.open(args.root, storage.published(args.root, NAME, s.run), s))
        self._shares.open(share)

    async def ask(self, share: Share, method: str, *args: Any) -> Any:
        """Return what a method of the share's index gives; a problem where the share cannot be opened."""
        if method not in ASKED:
            raise ValueError(f"a shard is not asked for {method}")
        index = await self._index(share)
        return index if isinstance(index, api.Problem) else await asyncio.to_thread(getattr(index, method), *args)

    async def hold(self, share: Share) -> bool | api.Problem:
        """Open a share, where it is not; return once it is."""
        index = await self._index(share)
        return index if isinstance(index, api.Problem) else True

    async def check_health(self) -> None:
        """Let go what nobody asks for; Serve calls it every few seconds."""
        self._shares.release()

    async def _index(self, share: Share) -> Index | api.Problem:
        try:
            return await self._shares.get(share)
        except Exception as e:
            _log_unopened(share, e)
            return problems.unavailable("not_ready", "a part of the archive cannot be opened")


def _log_unopened(share: Share, e: Exception) -> None:
    """Say which run and why; an error of ours names the place and the mend."""
    reason = str(e) if isinstance(e, WristmirError) else type(e).__name__
    logger.error("a share could not be opened", extra={"fields": {"reason": reason, "run": share.run}})


def shares_of(args: ServeArgs, index_run: str) -> list[Share]:
    """Return what each shard holds of a run; none where the archive is not cut."""
    if args.shards == 1:
        return []
    run = storage.published(args.root, NAME, index_run)
    return Cut.of(run.run_id, describe(args.root, run), args.shards).shares
