"""A query to an archive that computes regions as they are asked for: an answer in time, and a token to go on."""

import asyncio
import time
from typing import Any

from wristmir_ray.retrieval import partial
from wristmir_ray.retrieval.partial import Compute
from wristmir_ray.retrieval.pool import Partial, Progress
from wristmir_ray.retrieval.query import SearchRequest
from wristmir_ray.retrieval.unstored import State
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.onthefly.tokens import Claim, seal, unseal
from wristmir_ray.serving.service import Query

RESERVE_S, RESERVE_SHARE = 0.05, 0.05
"""Of the time until a deadline, for ranking and the way back: the smaller of the two."""


async def answer(
    archive: Archive, query: Query, compute: Compute, secret: bytes, seconds: float
) -> api.SearchAnswer | api.Problem:
    """Return the hits of one query; where its region is not stored, the best that can be had in time.

    Args:
        archive: the current generation; a token of another one is refused.
        query: encoded, or a token.
        compute: gives regions that are not known.
        secret: signs tokens.
        seconds: of a query that sets no deadline.
    """
    claim = None
    if query.token is not None:
        claim = unseal(query.token, secret)
        if claim is None:
            return problems.unknown_token()
        if claim.index_run != archive.pins.lineage.index:
            return problems.stale_token()
        query = Query(claim.parameters, claim.vectors, claim.exam_id, boxes=claim.boxes, seconds=query.seconds)
    until = time.monotonic() + (seconds if query.seconds is None else query.seconds)
    aside = archive.here if archive.is_short(query.parameters) else asyncio.to_thread
    request = await aside(_stored, archive, query)
    if not isinstance(request, SearchRequest):
        return request
    left = max(0.0, until - time.monotonic())
    left -= min(RESERVE_S, RESERVE_SHARE * left)
    before = claim.progress if claim else None
    found = await partial.search(archive.index, archive.known, request, compute, left, before, aside)
    told = archive.answer(query.parameters, found.answer, found.states)
    return told if found.answer.fallback else told.model_copy(update=_progress(archive, query, found, secret))


def _stored(archive: Archive, query: Query) -> api.SearchAnswer | api.Problem | SearchRequest:
    """Return the answer of an index that stores what is asked for, or else the request."""
    request = archive.request(query)
    if isinstance(request, api.Problem) or partial.is_computed(archive.index, request):
        return request
    return archive.answer(query.parameters, archive.index.search(request))


def _progress(archive: Archive, query: Query, found: Partial, secret: bytes) -> dict[str, Any]:
    """Return what an answer says beside its hits: how far it came, and how to go on."""
    token = None
    if found.progress.count(State.PENDING):
        run = archive.pins.lineage.index
        claim = Claim(run, query.parameters, found.progress, query.exam_id, query.vectors, query.boxes)
        token = seal(claim, secret)
    return {"coverage": _coverage(found.progress), "token": token, "query_boxes": dict(query.boxes)}


def _coverage(progress: Progress) -> api.Coverage:
    return api.Coverage(
        share=progress.coverage,
        pool=len(progress.states),
        compared=progress.count(State.COMPARED),
        no_region=progress.count(State.NO_REGION),
        unusable=progress.count(State.SOURCE_UNREADABLE, State.SOURCE_CHANGED),
        pending=progress.count(State.PENDING),
    )
