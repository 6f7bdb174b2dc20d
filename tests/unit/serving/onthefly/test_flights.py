"""One computation an exam, deadlines, and what failures leave: an event loop and a made-up computation."""

import asyncio
import threading
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from wristmir_ray import storage
from wristmir_ray.anatomy import Box, Region, Side
from wristmir_ray.retrieval.unstored import Found, Source, State
from wristmir_ray.serving.onthefly.cache import Cache
from wristmir_ray.serving.onthefly.flights import LEAST_ROWS, Flights, key_of

RADIUS = Region.DISTAL_RADIUS
BOX = Box(1, 2, 3, 4)


def source(i: int, **other: Any) -> Source:
    return Source(
        **{"exam_id": f"{i:032x}", "uri": f"{i}.png", "pixel_id": f"p{i}", "wrist": BOX, "side": None} | other
    )


@dataclass
class Works:
    """Computes as soon as it may; counts what it was asked for."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    asked: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)
    under_way: int = 0
    most: int = 0
    states: dict[str, State] = field(default_factory=dict)
    raises: bool = False

    async def __call__(self, sources: Sequence[Source], region: Region) -> Sequence[Found | None]:
        self.asked.update(s.exam_id for s in sources)
        self.sizes.append(len(sources))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        await self.may.wait()
        self.under_way -= 1
        if self.raises:
            raise OSError("a replica died")
        return [self._one(s) for s in sources]

    def _one(self, source: Source) -> Found:
        state = self.states.get(source.exam_id, State.COMPARED)
        return Found(state, np.ones(4, np.float32), BOX) if state is State.COMPARED else Found(state)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def flights(works: Works, rows: int = 4, at_once: int = 2, retry_after_s: float = 60.0) -> Flights:
    made = Flights(Cache(None, "m", 4, 1 << 20), works)
    made.set(rows, at_once, retry_after_s)
    return made


def test_who_asks_for_the_same_exam_waits_for_the_same_computation() -> None:
    async def test() -> None:
        works = Works()
        f = flights(works, at_once=8)
        asks = [asyncio.ensure_future(f.find([source(j) for j in range(i, i + 10)], RADIUS, 9)) for i in range(6)]
        await asyncio.sleep(0.01)
        works.may.set()
        for found in await asyncio.gather(*asks):
            assert all(x is not None and x.state is State.COMPARED for x in found)
        assert set(works.asked.values()) == {1}
        assert len(works.asked) == 15
        figures = f.figures()
        assert (figures["computed"], figures["joined"], figures["under_way"]) == (15, 45, 0)
        await f.find([source(3)], RADIUS, 9)
        assert works.asked[source(3).exam_id] == 1

    run(test())


def test_batches_are_filled_and_bounded() -> None:
    async def test() -> None:
        works = Works()
        works.may.set()
        await flights(works, rows=4, at_once=2).find([source(i) for i in range(22)], RADIUS, 9)
        assert works.sizes == [4, 4, 4, 4, 4, 2]
        assert works.most == 2

    run(test())


def test_towards_the_end_calls_grow_smaller_so_that_replicas_finish_together() -> None:
    async def test() -> None:
        works = Works()
        works.may.set()
        await flights(works, rows=16, at_once=4).find([source(i) for i in range(100)], RADIUS, 9)
        assert works.sizes[:3] == [16, 16, 16]
        assert works.sizes == sorted(works.sizes, reverse=True)
        assert max(works.sizes[-4:]) <= LEAST_ROWS
        assert works.most == 4

    run(test())


def test_a_deadline_gives_what_is_there_and_ends_what_nobody_waits_for() -> None:
    async def test() -> None:
        works = Works()
        f = flights(works, rows=2, at_once=1)
        assert await f.find([source(i) for i in range(10)], RADIUS, 0.01) == [None] * 10
        assert f.figures()["under_way"] == 2  # one batch is under way, the rest is not begun
        works.may.set()
        await asyncio.sleep(0.01)
        assert f.figures()["computed"] == 2  # what was under way is kept
        found = await f.find([source(i) for i in range(3)], RADIUS, 9)
        assert all(found)
        assert works.asked[source(0).exam_id] == 1
        assert source(9).exam_id not in works.asked

    run(test())


def test_images_that_are_the_same_are_computed_once_and_left_once() -> None:
    async def test() -> None:
        works = Works()
        f = flights(works, rows=1, at_once=1)
        twins = [source(0), source(1), source(2, pixel_id="p1")]
        assert await f.find(twins, RADIUS, 0.01) == [None] * 3
        assert f.figures()["under_way"] == 1
        works.may.set()
        assert all(await f.find(twins, RADIUS, 9))
        assert sum(works.asked.values()) == 2

    run(test())


def test_one_who_leaves_takes_nothing_from_one_who_stays() -> None:
    async def test() -> None:
        works = Works()
        f = flights(works, rows=1, at_once=1)
        short = asyncio.ensure_future(f.find([source(i) for i in range(5)], RADIUS, 0.01))
        long = asyncio.ensure_future(f.find([source(i) for i in range(5)], RADIUS, 9))
        assert await short == [None] * 5
        works.may.set()
        assert all(await long)

    run(test())


@pytest.mark.parametrize("state", [State.SOURCE_UNREADABLE, State.SOURCE_CHANGED])
def test_what_cannot_be_used_is_remembered_for_a_while(state: State) -> None:
    async def test() -> None:
        works = Works(states={source(1).exam_id: state})
        works.may.set()
        f = flights(works, retry_after_s=60)
        for _ in range(2):
            (found,) = await f.find([source(1)], RADIUS, 9)
            assert found is not None
            assert found.state is state
        assert works.asked[source(1).exam_id] == 1
        f._failed = {name: (0.0, failed) for name, (_, failed) in f._failed.items()}  # the while is over
        works.states.clear()
        (found,) = await f.find([source(1)], RADIUS, 9)
        assert found is not None
        assert found.state is State.COMPARED

    run(test())


def test_a_bone_that_is_not_there_is_a_fact() -> None:
    async def test() -> None:
        works = Works(states={source(1).exam_id: State.NO_REGION})
        works.may.set()
        f = flights(works, retry_after_s=0)
        for _ in range(2):
            assert await f.find([source(1)], RADIUS, 9) == [Found(State.NO_REGION)]
        assert works.asked[source(1).exam_id] == 1

    run(test())


def test_a_call_that_fails_leaves_its_exams_to_be_asked_for_again() -> None:
    async def test() -> None:
        works = Works(raises=True)
        works.may.set()
        f = flights(works)
        assert await f.find([source(1), source(2)], RADIUS, 9) == [None, None]
        assert (f.figures()["not_computed"], f.figures()["under_way"]) == (2, 0)
        works.raises = False
        assert all(await f.find([source(1), source(2)], RADIUS, 9))

    run(test())


def test_what_is_computed_is_written_before_long(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from wristmir_ray.serving.onthefly import flights as module

    monkeypatch.setattr(module, "WRITE_AFTER_S", 0.0)

    async def test() -> None:
        works = Works()
        works.may.set()
        f = Flights(Cache(str(tmp_path), "m", 4, 1 << 20), works)
        await f.find([source(i) for i in range(9)], RADIUS, 9)
        writer = f._writer
        assert writer is not None
        await writer
        again = Flights(Cache(str(tmp_path), "m", 4, 1 << 20), works)
        assert all(await again.find([source(i) for i in range(9)], RADIUS, 0))
        assert set(works.asked.values()) == {1}

    run(test())


def test_what_is_computed_while_others_are_written_is_written_too(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wristmir_ray.serving.onthefly import flights as module

    monkeypatch.setattr(module, "WRITE_AFTER_S", 0.0)
    writes, may_end, wrote = threading.Event(), threading.Event(), storage.write_parquet

    def slowly(*args: Any) -> None:
        writes.set()
        may_end.wait(10)
        wrote(*args)

    monkeypatch.setattr(storage, "write_parquet", slowly)

    async def test() -> None:
        works = Works()
        works.may.set()
        f = Flights(Cache(str(tmp_path), "m", 4, 1 << 20), works)
        await f.find([source(1)], RADIUS, 9)
        assert await asyncio.to_thread(writes.wait, 10)
        await f.find([source(2)], RADIUS, 9)
        may_end.set()
        assert f._writer is not None
        await f._writer
        assert len(Cache(str(tmp_path), "m", 4, 1 << 20)) == 2

    run(test())


def test_the_key_is_of_all_that_shapes_the_result() -> None:
    one = source(1)
    others = [
        source(1, pixel_id="other"),
        source(1, wrist=Box(1, 2, 3, 5)),
        source(1, side=Side.LEFT),
        source(1, pixel_id=None),
        source(1, pixel_id=None, uri="elsewhere.png"),
    ]
    names = {key_of(s, RADIUS) for s in (one, *others)} | {key_of(one, Region.DISTAL_ULNA)}
    assert len(names) == 7
    assert key_of(source(1, uri="moved.png", exam_id="0" * 32), RADIUS) == key_of(one, RADIUS)
