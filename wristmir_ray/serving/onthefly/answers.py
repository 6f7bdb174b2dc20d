"""A query to an archive that computes regions as they are asked for: the answer by its deadline, and a token to go on."""

import asyncio

from wristmir_ray.retrieval import partial
from wristmir_ray.retrieval.partial import Compute, Progress
from wristmir_ray.retrieval.unstored import State
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.onthefly.tokens import Claim, seal, unseal
from wristmir_ray.serving.service import Query


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
    before: Progress | None = None
    if query.token is not None:
        claim = unseal(query.token, secret)
        if claim is None:
            return problems.unknown_token()
        if claim.index_run != archive.pins.lineage.index:
            return problems.stale_token()
        query, before = _of(claim, query.seconds), claim.progress
    problem = archive.refusal(query)
    if problem is not None:
        return problem
    request = archive.request(query)
    if not partial.is_computed(archive.index, request):
        return await asyncio.to_thread(archive.search, query)
    left = seconds if query.seconds is None else query.seconds
    try:
        found = await partial.search(archive.index, archive.known, request, compute, left, before)
    except ValueError:
        if before is None:
            raise
        return problems.stale_token()
    told = archive.answer(query.parameters, found.answer, found.states)
    if found.answer.fallback is not None:
        return told
    pending = found.progress.count(State.PENDING)
    run = archive.pins.lineage.index
    token = Claim(run, query.parameters, found.progress, query.exam_id, query.vectors, query.boxes) if pending else None
    more = {
        "coverage": _coverage(found.progress),
        "token": seal(token, secret) if token else None,
        "query_boxes": dict(query.boxes),
    }
    return told.model_copy(update=more)


def _of(claim: Claim, seconds: float | None) -> Query:
    return Query(claim.parameters, claim.vectors, claim.exam_id, boxes=claim.boxes, seconds=seconds)


def _coverage(progress: Progress) -> api.Coverage:
    return api.Coverage(
        share=progress.coverage,
        pool=len(progress.states_P),
        compared=progress.count(State.COMPARED),
        no_region=progress.count(State.NO_REGION),
        unusable=progress.count(State.SOURCE_UNREADABLE, State.SOURCE_CHANGED),
        pending=progress.count(State.PENDING),
    )
