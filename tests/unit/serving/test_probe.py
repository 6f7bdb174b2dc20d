"""A flood of probes reaches the parts once a second."""

import asyncio

import pytest

from tests.unit.serving.fake_graph import LINEAGE
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.probe import KEPT_S, Probe
from wristmir_ray.serving.problems import ProblemError

AWAY = problems.unavailable("not_ready", "a part of the service is not up")


class Parts:
    """Counts how often it is asked; answers `problem`, where there is one."""

    def __init__(self) -> None:
        self.asked, self.now = 0, 0.0
        self.problem: api.Problem | None = None

    async def check(self) -> api.Readiness:
        self.asked += 1
        await asyncio.sleep(0)
        if self.problem:
            raise ProblemError(self.problem)
        return api.Readiness(ready=True, lineage=LINEAGE)


def test_many_ask_at_once_and_one_check_answers() -> None:
    parts = Parts()

    async def flood() -> list[api.Readiness]:
        probe = Probe(parts.check, lambda: parts.now)
        found = await asyncio.gather(*(probe.ready() for _ in range(100)))
        return [*found, await probe.ready()]

    assert {f.ready for f in asyncio.run(flood())} == {True}
    assert parts.asked == 1


def test_what_changed_is_seen_after_a_second() -> None:
    parts = Parts()

    async def watch() -> None:
        probe = Probe(parts.check, lambda: parts.now)
        assert (await probe.ready()).ready
        parts.problem = AWAY
        assert (await probe.ready()).ready
        parts.now += KEPT_S + 0.01
        for _ in range(2):
            with pytest.raises(ProblemError) as caught:
                await probe.ready()
            assert caught.value.problem == AWAY
        parts.problem = None
        parts.now += KEPT_S + 0.01
        assert (await probe.ready()).ready

    asyncio.run(watch())
    assert parts.asked == 3


def test_one_who_goes_away_leaves_the_others_their_answer() -> None:
    parts = Parts()

    async def leave() -> api.Readiness:
        probe = Probe(parts.check, lambda: parts.now)
        first, second = asyncio.ensure_future(probe.ready()), asyncio.ensure_future(probe.ready())
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(leave()).ready
    assert parts.asked == 1
