"""Two stages over an index that does not store the region: the pool's is computed as it is asked for (WristMIR App. F).

    stage 1 ─> pool ─> what is not known of it ─> compute, until the deadline ─> best-so-far ranking

Candidates that are not computed yet follow the compared ones in stage-1 order, flagged. Once nothing is
pending, the answer is the one of an index that stores the region: the same scores, order and boxes.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.gallery import Gallery, Holding
from wristmir_ray.retrieval.pool import NOTHING, Partial, Pool, Progress
from wristmir_ray.retrieval.query import SearchAnswer, SearchRequest
from wristmir_ray.retrieval.unstored import Found, Known, Source, State
from wristmir_ray.search.merge import Mode

Compute = Callable[[Sequence[Source], Region, float], Awaitable[Sequence[Found | None]]]
"""(sources, region, seconds) -> what came of each within that time; None: nothing yet."""
Aside = Callable[..., Awaitable[Any]]
"""(function, *arguments) -> what it returns."""

BOXES_S = 1.0
"""For so long an answer that is complete waits for the boxes of its hits."""


def is_computed(index: Gallery, request: SearchRequest) -> bool:
    """Return whether the answer needs a region that the index does not store."""
    has = request.exam_id is not None or request.region in request.vectors
    return request.mode is Mode.TWO_STAGE and request.region not in index.stored and has


async def search(
    index: Gallery,
    known: Known,
    request: SearchRequest,
    compute: Compute,
    seconds: float,
    before: Progress | None = None,
    aside: Aside = asyncio.to_thread,
) -> Partial:
    """Return the best answer that can be had in time.

    Args:
        index: opened.
        known: what is computed of it; grows.
        request: for which `is_computed` holds.
        compute: gives what is not known.
        seconds: until when; what is in the pool then and not computed stays pending.
        before: of an earlier answer to the same request over the same index: what it had settled stays settled.
        aside: does what takes long; default: in a thread.

    Raises:
        KeyError, ValueError: as `Gallery.search`; ValueError: `before` is of another pool.
    """
    until = time.monotonic() + seconds
    if request.exam_id is not None and request.own is None:
        request = replace(request, own=await aside(_holding, index, request.exam_id))
    started, means = time.monotonic(), _Means(index, known, compute, until, before, aside)
    request, own, beside = await _own_region(request, means)
    if own not in {State.COMPARED, State.PENDING}:
        return _by_wrists_alone(await aside(index.search, request), own)
    waited_s = time.monotonic() - started
    pool = await aside(Pool, index, known, request, own, before)
    started = time.monotonic()
    if own is State.COMPARED:
        await _fill(pool, beside, means)
    waited_s += time.monotonic() - started
    answered: Partial = await aside(pool.answer, 1e3 * waited_s)
    if len(pool.boxless):  # hits whose scores a token brought, or whose boxes were forgotten: a cache has them, mostly
        started = time.monotonic()
        await _compute(pool, pool.boxless, replace(means, until=min(until, started + BOXES_S)))
        answered = await aside(pool.answer, 1e3 * (waited_s + time.monotonic() - started))
    return answered


async def _fill(pool: Pool, beside: "_Beside | None", means: "_Means") -> None:
    """Settle what is pending in a pool, as far as it can be had in time."""
    if beside is not None:
        await means.aside(pool.settle, *beside)
    await _compute(pool, pool.missing(), means)


async def _compute(pool: Pool, at: np.ndarray, means: "_Means") -> None:
    """Let a pool know what can be had of some of its candidates in time."""
    if len(at) and means.until > time.monotonic():
        sources = await means.aside(means.index.sources, pool.part.places[at])
        found = await means.compute(sources, pool.region, max(0.0, means.until - time.monotonic()))
        await means.aside(means.known.add, pool.region, pool.part.places[at], found)
        await means.aside(pool.settle, at, found)


def _by_wrists_alone(answer: SearchAnswer, own: State) -> Partial:
    """Return the answer for a query that has no such region, or whose image cannot be used."""
    if own is not State.NO_REGION:
        answer = replace(answer, fallback=f"query_{own.name.lower()}")
    return Partial(answer, [State.NO_REGION] * len(answer.hits), NOTHING)


_Beside = tuple[np.ndarray, Sequence[Found | None]]
"""Candidates of a pool, and what came of them while the query's own region was computed."""


@dataclass(frozen=True)
class _Means:
    """What a search has to compute with, as `search` was given it."""

    index: Gallery
    known: Known
    compute: Compute
    until: float
    before: Progress | None
    aside: Aside


async def _own_region(request: SearchRequest, means: _Means) -> tuple[SearchRequest, State, _Beside | None]:
    """Return the request with its region's vector, what has become of that, and what was computed beside it."""
    if request.own is None or request.region in request.vectors:
        return request, State.COMPARED, None
    found, beside = means.known.found(request.region, request.own.place), None
    if found is None:
        found, beside = await _own_and_pool(request, means)
    if found is None or found.vector is None:
        return request, State.PENDING if found is None else found.state, beside
    return replace(request, vectors={request.region: found.vector}), State.COMPARED, beside


async def _own_and_pool(request: SearchRequest, means: _Means) -> tuple[Found | None, _Beside]:
    """Compute an exam's own region and, at the same time, those of its pool, which hangs on its wrist alone."""
    assert request.own is not None
    index, known, compute = means.index, means.known, means.compute
    pool = await means.aside(Pool, index, known, request, State.PENDING, means.before)
    missing = pool.missing()
    missing = missing[known.lacks(request.region, pool.part.places[missing])]
    at = np.concatenate([np.array([request.own.place], np.int64), pool.part.places[missing]])
    sources = await means.aside(index.sources, at)
    left = max(0.0, means.until - time.monotonic())
    first = asyncio.ensure_future(compute(sources[:1], request.region, left))
    rest = asyncio.ensure_future(compute(sources[1:], request.region, left)) if len(missing) else None
    try:
        (own,) = await first
        known.add(request.region, at[:1], [own])
        if rest is None or (own is not None and own.vector is None):  # then there is nothing to compare a pool with
            return own, (missing[:0], [])
        found = await rest
        known.add(request.region, at[1:], found)
    finally:
        first.cancel()
        if rest is not None:
            rest.cancel()
    return own, (missing, found)


def _holding(index: Gallery, exam_id: str) -> Holding:
    found = index.look(exam_id)
    if found is None:
        raise KeyError(exam_id)
    return found
