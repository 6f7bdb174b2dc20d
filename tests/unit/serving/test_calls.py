"""Calls to a part of the same process: bounded, and its errors told."""

import asyncio
import logging
from typing import Any

import pytest

from wristmir_ray.serving import api
from wristmir_ray.serving.calls import Near, value
from wristmir_ray.serving.problems import ProblemError


class Part:
    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def answers(self, what: int) -> int:
        await self.go.wait()
        return what

    async def fails(self) -> int:
        raise KeyError("of an exam")


def test_what_comes_beyond_the_bound_is_refused_and_room_is_made_again() -> None:
    async def test() -> None:
        part = Part()
        near = Near(part, most=2)
        first = [asyncio.ensure_future(value(near.answers.remote(n), int)) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as caught:
            await value(near.answers.remote(3), int)
        assert (caught.value.problem.status, caught.value.problem.code) == (503, "busy")
        part.go.set()
        assert await asyncio.gather(*first) == [0, 1]
        assert await value(near.answers.remote(4), int) == 4

    asyncio.run(test())


def test_its_error_is_an_internal_problem_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> Any:
        return await value(Near(Part()).fails.remote(), int)

    with caplog.at_level(logging.ERROR), pytest.raises(ProblemError) as caught:
        asyncio.run(test())
    assert isinstance(caught.value.problem, api.Problem)
    assert caught.value.problem.status == 500
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [KeyError]
