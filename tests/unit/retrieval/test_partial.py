"""Pools whose region is computed as it is asked for, against an index of the same exams that stores it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.retrieval.made_up import exams_of, publish, queries, vectors_of, with_sources
from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.retrieval.config import IndexConfig
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.retrieval.partial import is_computed, search
from wristmir_ray.retrieval.pool import Partial, Progress
from wristmir_ray.retrieval.publishing import compact, update
from wristmir_ray.retrieval.unstored import Found, Known, Source, State
from wristmir_ray.search.merge import Mode

EXAMS = 60
CONFIG = IndexConfig(codes_min_rows=10, calibration_queries=5)
BOX = Box(1.0, 2.0, 3.0, 4.0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, Index]:
    """The same exams, all regions stored, and whole wrists alone."""
    root = str(tmp_path_factory.mktemp("index"))
    numbers = np.arange(EXAMS)
    return publish(root, numbers, CONFIG), publish(root, numbers, CONFIG, "i2", stored=[Region.WRIST])


@dataclass
class Computes:
    """Gives what the full index stores: all that it gave before, and `most` more exams a call, as a cache does."""

    full: Index
    most: int = EXAMS
    lost: dict[str, State] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    calls: int = 0

    async def __call__(self, sources: Sequence[Source], region: Region, seconds: float) -> list[Found | None]:
        self.asked += [s.exam_id for s in sources]
        self.calls += 1
        self.given |= set([s.exam_id for s in sources if s.exam_id not in self.given][: self.most])
        return [self._one(s.exam_id, region) if s.exam_id in self.given else None for s in sources]

    def _one(self, exam_id: str, region: Region) -> Found:
        if exam_id in self.lost:
            return Found(self.lost[exam_id])
        vector = self.full.vector(exam_id, region)
        return Found(State.NO_REGION) if vector is None else Found(State.COMPARED, vector, BOX)


def ask(index: Index, request: SearchRequest, compute: Computes, known: Known | None = None, **more: Any) -> Partial:
    return asyncio.run(search(index, known or Known(index, 10_000), request, compute, 60.0, **more))


def shown(answer: Any) -> list[tuple[Any, ...]]:
    """Everything of hits that must agree; where a bone was not found, no answer has its box."""
    return [
        (h.exam_id, h.stage1_rank, h.global_score, h.region_score, h.final_rank, h.exam["sex"]) for h in answer.hits
    ]


def boxes(answer: Any) -> list[Any]:
    """The boxes of those hits whose bones were compared."""
    return [h.box for h in answer.hits if h.region_score is not None]


NOBODY = Filters(age_min_years=99)

requests = st.fixed_dictionaries(
    {
        "region": st.sampled_from(BONES),
        "pool": st.integers(1, EXAMS + 5),
        "k": st.integers(1, 20),
        "one_a_patient": st.booleans(),
        "filters": st.sampled_from([Filters(), Filters(laterality=Side.LEFT), Filters(age_min_years=9), NOBODY]),
        "query": st.integers(-5, EXAMS - 1),
    }
)


def request_of(index: Index, asked: dict[str, Any]) -> SearchRequest:
    """Return a request by an exam's id, or, below 0, by vectors of its own."""
    number = asked["query"]
    rest = {n: v for n, v in asked.items() if n != "query"}
    if number >= 0:
        return SearchRequest(exam_id=f"{number:032x}", **rest)
    vectors = queries(np.random.default_rng(-number), index)
    return SearchRequest(vectors={r: vectors[r] for r in (Region.WRIST, asked["region"])}, **rest)


@settings(deadline=None, max_examples=80)
@given(asked=requests)
def test_a_completed_answer_is_that_of_the_index_that_stores_the_region(
    both: tuple[Index, Index], asked: dict[str, Any]
) -> None:
    full, bare = both
    request = request_of(full, asked)
    if request.exam_id and full.vector(request.exam_id, Region.WRIST) is None:
        return
    assert is_computed(bare, request)
    found = ask(bare, request, Computes(full))
    wanted = full.search(request)
    assert shown(found.answer) == shown(wanted)
    assert (found.answer.fallback, found.answer.gallery) == (wanted.fallback, wanted.gallery)
    assert found.progress.coverage == 1
    lacks = [h.region_score is None for h in wanted.hits]
    assert [s is State.NO_REGION for s in found.states] == lacks
    if wanted.fallback is None:
        assert [h.box is None for h in found.answer.hits] == lacks


@settings(deadline=None, max_examples=30)
@given(asked=requests, most=st.integers(1, 7), forgets=st.booleans())
def test_coverage_never_falls_and_ends_in_the_complete_answer(
    both: tuple[Index, Index], asked: dict[str, Any], most: int, forgets: bool
) -> None:
    """Also where nothing but the progress itself is left of what was computed before."""
    full, bare = both
    request = request_of(full, asked)
    if request.exam_id and full.vector(request.exam_id, Region.WRIST) is None:
        return
    known, compute = Known(bare, 10_000), Computes(full, most)
    before: Progress | None = None
    coverage = 0.0
    for _ in range(EXAMS + 2):
        found = ask(bare, request, compute, Known(bare, 10_000) if forgets else known, before=before)
        assert found.progress.coverage >= coverage
        coverage, before = found.progress.coverage, found.progress
        pending = [h.stage1_rank for h, s in zip(found.answer.hits, found.states, strict=True) if s is State.PENDING]
        assert pending == sorted(pending, key=lambda r: r or 0)
        if coverage == 1:
            break
    wanted = full.search(request)
    assert shown(found.answer) == shown(wanted)
    assert boxes(found.answer) == boxes(wanted)


def test_what_is_pending_follows_in_stage_1_order_and_is_flagged(both: tuple[Index, Index]) -> None:
    full, bare = both
    request = request_of(full, {"query": -1, "region": Region.DISTAL_ULNA, "pool": 30, "k": 30})
    found = ask(bare, request, Computes(full, most=5))
    compared = [h for h, s in zip(found.answer.hits, found.states, strict=True) if s is State.COMPARED]
    rest = [h.stage1_rank for h, s in zip(found.answer.hits, found.states, strict=True) if s is not State.COMPARED]
    assert found.answer.hits[: len(compared)] == compared
    assert all(h.stage1_rank is not None and h.stage1_rank <= 5 for h in compared)  # the best of stage 1 come first
    assert rest == sorted(r for r in rest if r)
    assert found.progress.coverage == pytest.approx(5 / 30)
    assert found.progress.count(State.PENDING) == 25


def test_what_is_known_is_not_computed_again(both: tuple[Index, Index]) -> None:
    full, bare = both
    request = request_of(full, {"query": 3, "region": Region.DISTAL_RADIUS, "pool": 30, "k": 10})
    known, compute = Known(bare, 10_000), Computes(full)
    first = ask(bare, request, compute, known)
    count = len(compute.asked)
    assert count == 31  # the query's own bone, too
    assert compute.calls == 2  # its own bone and its pool's, at the same time
    assert shown(ask(bare, request, compute, known).answer) == shown(first.answer)
    assert len(compute.asked) == count == len(set(compute.asked))


def test_more_than_may_be_known_is_forgotten_and_the_answer_stays_right(both: tuple[Index, Index]) -> None:
    full, bare = both
    known, compute = Known(bare, 8), Computes(full)
    for number in (-1, -2, -1):
        request = request_of(full, {"query": number, "region": Region.DISTAL_RADIUS, "pool": 20, "k": 20})
        found, wanted = ask(bare, request, compute, known).answer, full.search(request)
        assert shown(found) == shown(wanted)
        assert boxes(found) == boxes(wanted)


def test_a_box_that_is_not_known_any_more_is_asked_for_and_where_that_fails_the_score_stays(
    both: tuple[Index, Index],
) -> None:
    full, bare = both
    request = request_of(full, {"query": -1, "region": Region.DISTAL_RADIUS, "pool": 30, "k": 10})
    before = ask(bare, request, Computes(full)).progress
    wanted = full.search(request)
    compared = [h.exam_id for h in wanted.hits if h.region_score is not None]
    compute = Computes(full, lost={compared[0]: State.SOURCE_CHANGED})
    found = ask(bare, request, compute, before=before).answer
    assert sorted(compute.asked) == sorted(compared), "of the pool the hits alone"
    assert shown(found) == shown(wanted)
    assert {h.exam_id for h in found.hits if h.box is None} == {
        compared[0],
        *({h.exam_id for h in wanted.hits} - {*compared}),
    }


def test_images_that_cannot_be_used_settle_but_are_asked_for_again(both: tuple[Index, Index]) -> None:
    full, bare = both
    request = request_of(full, {"query": -1, "region": Region.DISTAL_RADIUS, "pool": 10, "k": 10})
    first, second = (h.exam_id for h in ask(bare, request, Computes(full)).answer.hits[:2])
    compute = Computes(full, lost={first: State.SOURCE_UNREADABLE, second: State.SOURCE_CHANGED})
    known = Known(bare, 10_000)
    found = ask(bare, request, compute, known)
    assert found.progress.coverage == 1
    states = {h.exam_id: s for h, s in zip(found.answer.hits, found.states, strict=True)}
    assert (states[first], states[second]) == (State.SOURCE_UNREADABLE, State.SOURCE_CHANGED)
    assert {h.exam_id for h in found.answer.hits if h.region_score is None} >= {first, second}
    compute.lost.clear()
    assert shown(ask(bare, request, compute, known).answer) == shown(full.search(request))
    assert compute.asked.count(first) == 2


def test_without_the_querys_own_bone_all_is_pending_then_a_fallback_only_if_there_is_none(
    both: tuple[Index, Index],
) -> None:
    full, bare = both
    lacking = next(i for i in range(EXAMS) if full.vector(f"{i:032x}", Region.DISTAL_RADIUS) is None)
    request = request_of(full, {"query": lacking, "region": Region.DISTAL_RADIUS, "pool": 10, "k": 5})
    late = ask(bare, request, Computes(full, most=0))
    assert (late.answer.fallback, late.progress.coverage) == (None, 0.0)
    assert [h.stage1_rank for h in late.answer.hits] == [1, 2, 3, 4, 5]
    assert ask(bare, request, Computes(full)).answer.fallback == "query_region_not_found"
    gone = Computes(full, lost={f"{lacking:032x}": State.SOURCE_UNREADABLE})
    assert ask(bare, request, gone).answer.fallback == "query_source_unreadable"


def test_where_the_query_has_no_such_bone_its_pool_is_not_waited_for(both: tuple[Index, Index]) -> None:
    full, bare = both
    lacking = next(i for i in range(EXAMS) if full.vector(f"{i:032x}", Region.DISTAL_RADIUS) is None)
    request = request_of(full, {"query": lacking, "region": Region.DISTAL_RADIUS, "pool": 10, "k": 5})
    ended: list[str] = []

    async def compute(sources: Sequence[Source], region: Region, seconds: float) -> list[Found | None]:
        if sources[0].exam_id == f"{lacking:032x}":
            await asyncio.sleep(0.01)
            return [Found(State.NO_REGION)]
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("pool")
        return [None] * len(sources)

    found = asyncio.run(search(bare, Known(bare, 100), request, compute, 60.0))
    assert (found.answer.fallback, ended) == ("query_region_not_found", ["pool"])


def test_other_requests_need_nothing_computed(both: tuple[Index, Index]) -> None:
    full, bare = both
    by_vector = {"query": -1, "region": Region.DISTAL_RADIUS, "pool": 10, "k": 5}
    assert not is_computed(full, request_of(full, by_vector))
    assert not is_computed(bare, request_of(full, {**by_vector, "mode": Mode.GLOBAL}))
    whole = SearchRequest(
        Region.DISTAL_RADIUS, vectors={Region.WRIST: queries(np.random.default_rng(1), full)["wrist"]}
    )
    assert not is_computed(bare, whole)
    assert bare.search(whole).fallback == "query_region_not_found"
    for mode in (Mode.REGION, Mode.TWO_STAGE):
        with pytest.raises(ValueError, match="computed for a pool"):
            bare.search(request_of(full, {**by_vector, "mode": mode}))


def test_such_an_index_grows_and_is_compacted(tmp_path: Path) -> None:
    root, other = str(tmp_path / "bare"), str(tmp_path / "full")
    publish(root, np.arange(40), CONFIG, stored=[Region.WRIST])
    full = publish(other, np.arange(EXAMS), CONFIG)
    new = np.arange(40, EXAMS)
    update(root, with_sources(exams_of(new)), {Region.WRIST: vectors_of(new)[Region.WRIST]})
    request = request_of(full, {"query": 3, "region": Region.DISTAL_RADIUS, "pool": 30, "k": 20})
    grown = Index.load(root)
    assert (len(grown.segments), grown.stored) == (2, [Region.WRIST])
    assert shown(ask(grown, request, Computes(full)).answer) == shown(full.search(request))
    compact(root)
    small = Index.load(root)
    assert (len(small.segments), small.stored, len(small)) == (1, [Region.WRIST], EXAMS)
    assert shown(ask(small, request, Computes(full)).answer) == shown(full.search(request))
    files = [f.name for s in small.segments for f in s.folder.iterdir()]
    assert not any(f.startswith(b.value) for f in files for b in BONES)
