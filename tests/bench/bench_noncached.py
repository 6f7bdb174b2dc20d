"""Non-cached retrieval over HTTP against the paper's way: one candidate after the other (WristMIR App. F, Table 7).

Pools of 100, 500 and 1,000 of 1,597 phantom wrists, a region each, so that every first answer is cold: whole
wrists alone are stored. `ours` is a cold search of 100, from request to complete answer, the median of five exams
that have no candidate in common. The peers take the same candidates from the same files through the same functions
right after each, everything loaded before; a ratio is that of a search and of the loop beside it:

- torch: one process, bones by Ultralytics' `predict` and crops by the same encoder of open_clip, both in eager PyTorch
  on all cores;
- own: one process on the archive's own back ends, all cores for its networks;
- bare: the same, a process a core instead, each of which takes the next candidate as it is free: what the service's
  parts could come to if they cost nothing and met nobody, no cache, no deadline, no second request.

None pads the encoder's batch. `warm` is the same search again, `full` that of the index which stores all
regions, swapped in: medians of 30, three times in turns, their hits must be equal to the last bit. `deadline`: a
cold pool of 1,000 in steps of a second; by how much its slowest step was late, and whether coverage ever fell.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.noncached import Loop, Running, Service, World, make_world, served
from tests.bench.trained import detectors

PAPER_S = {100: 7.81, 500: 40.39, 1000: 74.94}
"""Table 7; another machine, other models, another archive."""
COLD = 5
"""Exams whose pools of 100 are cold, one after the other."""
QUIET_S = 1.5
"""Before each measurement: what the one before it has left to do, a cache to write, threads that spin, is done."""
SETTLE_S = 10
WARM, TURNS = 30, 3
DEADLINE_S = 1.0


def measure() -> dict[str, Any]:
    """Return seconds of ours, of both loops and of the index that stores all, by pool."""
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(detectors(folder), str(Path(folder) / "world"))
        return compare(world, Path(folder))


def compare(world: World, folder: Path, pools: tuple[int, ...] = tuple(PAPER_S)) -> dict[str, Any]:
    """Return the figures of a world, by three pools, the smallest first."""
    from wristmir_ray.anatomy import BONES
    from wristmir_ray.retrieval.index import Index

    index = Index.load(world.root, world.bare)
    regions = dict(zip(pools, BONES, strict=True))
    first, last = pools[0], pools[-1]
    exams = _apart(index, _with_bones(Index.load(world.root, world.full)), first)
    exam, asked = exams[0], {pool: exams if pool == first else exams[:1] for pool in pools}
    with served(world, folder) as service, _loops(world) as loops:
        _start_up(service, loops, index, {exam: last, **dict.fromkeys(exams[1:], first)})
        rounds = {}
        for pool, region in regions.items():
            asks = [{"exam_id": e, "region": region, "pool": pool} for e in asked[pool]]
            rounds[pool] = [_round(service, loops, index, ask) for ask in asks]
        late, falls = _by_deadline(service, {"exam_id": exam, "region": regions[first], "pool": last})
        turns = [_turn(service, world, exam, regions) for _ in range(TURNS)]
    rows = {p: {name: statistics.median(r[name] for r in of) for name in of[0]} for p, of in rounds.items()}
    return {
        "ours": round(rows[first]["cold"], 3),
        "peer": round(rows[first]["torch"], 3),
        "ratio": _worst("torch", rounds),
        "own_ratio": _worst("own", rounds),
        "bare_ratio": _worst("bare", rounds),
        "warm_ratio": round(max(statistics.median(t[p]["warm"] / t[p]["full"] for t in turns) for p in pools), 3),
        "deadline_ratio": round(late, 3),
        "coverage_falls": falls,
        "unit": f"s a search of a pool of {first}",
        "fields": {
            f"pool {p}": {
                "paper": PAPER_S.get(p, float("nan")),
                **rows[p],
                **{name: statistics.median(t[p][name] for t in turns) for name in ("warm", "full")},
            }
            for p in pools
        },
    }


def _turn(service: Service, world: World, exam: str, regions: dict[int, Any]) -> dict[int, dict[str, float]]:
    """Return, by pool, seconds of a search whose regions are known, and of it over the index that stores all."""
    took: dict[int, dict[str, float]] = {pool: {} for pool in regions}
    found: dict[int, list[Any]] = {pool: [] for pool in regions}
    for name, run in (("full", world.full), ("warm", world.bare)):
        service.swap(run)
        for pool, region in regions.items():
            took[pool][name], answer = _median(service, {"exam_id": exam, "region": region, "pool": pool})
            found[pool].append(_shown(answer))
    assert all(warm == full for full, warm in found.values()), "not the answer of the archive that stores all"
    return took


def _round(service: Service, loops: dict[str, Running], index: Any, ask: dict[str, Any]) -> dict[str, float]:
    """Return seconds of one cold search, and of each loop over the same candidates right after it."""
    sources = _sources(index, ask)
    time.sleep(QUIET_S)
    seconds = {"cold": _seconds(lambda: _complete(service, ask))}
    for name, loop in loops.items():
        time.sleep(QUIET_S)
        seconds[name] = loop.seconds(sources, ask["region"])
    return seconds


def _worst(name: str, rounds: dict[int, list[dict[str, float]]]) -> float:
    """Return the smallest of the pools' ratios, a loop's seconds to ours: the median of a pool's rounds."""
    return round(min(statistics.median(r[name] / r["cold"] for r in of) for of in rounds.values()), 3)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _with_bones(index: Any) -> list[str]:
    from wristmir_ray.anatomy import Region

    return [i for i in index.exams["exam_id"].to_pylist() if all(index.vector(i, r) is not None for r in Region)]


def _apart(index: Any, exams: list[str], pool: int) -> list[str]:
    """Return the first of some exams, and others that share no candidate with those before them."""
    seen: set[str] = set()
    out: list[str] = []
    for exam in exams:
        found = {exam, *_pool(index, exam, pool)}
        if not found & seen:
            out.append(exam)
            seen |= found
        if len(out) == COLD:
            return out
    raise ValueError(f"fewer than {COLD} exams of this archive have pools apart")


def _pool(index: Any, exam: str, pool: int) -> list[str]:
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.query import SearchRequest
    from wristmir_ray.search.merge import Mode

    found = index.search(SearchRequest(Region.WRIST, Mode.GLOBAL, pool, pool, exam_id=exam))
    return [hit.exam_id for hit in found.hits]


def _outside(index: Any, pools: dict[str, int]) -> list[str]:
    """Return exams that no search to come has in its pool, by its exam and its size."""
    inside = set(pools) | {e for exam, pool in pools.items() for e in _pool(index, exam, pool)}
    return [e for e in index.exams["exam_id"].to_pylist() if e not in inside][:16]


def _start_up(service: Service, loops: dict[str, Running], index: Any, pools: dict[str, int]) -> None:
    """Let every part answer, and call those that it calls, without a bone of the searches to come; then be quiet."""
    from wristmir_ray.anatomy import Region

    exam, *_ = pools
    service.client.search(exam_id=exam, mode="global")
    for other in _outside(index, pools):  # a filter that nobody passes: its own bone is all that is computed
        service.client.search(exam_id=other, age_min=119)
    source, *_ = _sources(index, {"exam_id": exam, "region": Region.DISTAL_RADIUS, "pool": 1})
    for loop in loops.values():
        loop.warm_up(source, Region.DISTAL_RADIUS)
    time.sleep(SETTLE_S)


def _complete(service: Service, ask: dict[str, Any]) -> Any:
    answer = service.client.search(**ask, deadline_s=15)
    while answer.token:
        answer = service.client.search(token=answer.token, deadline_s=15)
    return answer


def _median(service: Service, ask: dict[str, Any]) -> tuple[float, Any]:
    answer = _complete(service, ask)
    return statistics.median(_seconds(lambda: service.client.search(**ask)) for _ in range(WARM)), answer


def _shown(answer: Any) -> Any:
    return [h.model_dump(exclude={"lineage"}) for h in answer.hits], answer.gallery, answer.exactness, answer.fallback


def _by_deadline(service: Service, ask: dict[str, Any]) -> tuple[float, int]:
    """Return the slowest step over the deadline, and how often coverage fell."""
    took, shares, query = [], [], ask
    while query:
        started = time.perf_counter()
        answer = service.client.search(**query, deadline_s=DEADLINE_S)
        took.append(time.perf_counter() - started)
        shares.append(answer.coverage.share)
        query = {"token": answer.token} if answer.token else {}
    assert len(took) > 2, "the pool was settled before a deadline"
    return max(took) / DEADLINE_S, sum(b < a for a, b in pairwise(shares))


def _sources(index: Any, ask: dict[str, Any]) -> list[Any]:
    """Return where the candidates of a search lie."""
    from dataclasses import replace

    from wristmir_ray.retrieval.query import Prepared, SearchRequest
    from wristmir_ray.retrieval.unstored import sources_of
    from wristmir_ray.search.merge import Mode

    request = SearchRequest(ask["region"], Mode.GLOBAL, ask["pool"], ask["pool"], exam_id=ask["exam_id"])
    prepared = Prepared.of(index, request)
    part = index.candidates(replace(prepared, ask=replace(prepared.ask, local=None)))[0]
    sources = list(sources_of(index, part.places))
    assert len(sources) == ask["pool"]
    return sources


@contextmanager
def _loops(world: World) -> Iterator[dict[str, Running]]:
    """Open the three loops."""
    from wristmir_ray import storage

    crops = storage.published(world.root, "crops").run_id
    cores = os.cpu_count() or 1
    torch, own, bare = (Loop(world.root, crops, *how) for how in ((True, cores), (False, cores), (False, 1)))
    loops = {"torch": Running(torch, 1), "own": Running(own, 1), "bare": Running(bare, cores)}
    try:
        yield loops
    finally:
        for loop in loops.values():
            loop.close()
