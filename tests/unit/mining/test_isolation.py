"""Who killed the engine: any set of poisoned reports is found, and nobody else is blamed."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wristmir_ray.mining.isolation import MAX_DEATHS, DeathLedger, Gate, company


class Cluster:
    """Engines that die of certain reports, started again with all that was not answered."""

    def __init__(self, reports: int, poison: frozenset[int], concurrency: int) -> None:
        self.reports, self.poison, self.concurrency = reports, poison, concurrency
        self.ledger = DeathLedger()
        self.answers: dict[int, bool] = {}
        self.read: Counter[int] = Counter()
        self.inside: Counter[int] = Counter()
        self.starts = 0

    async def run(self) -> dict[int, bool]:
        while len(self.answers) < self.reports:
            self.starts += 1
            assert self.starts < 4 * len(self.poison) + 2
            self.answers = {}  # a stage's answers are lost with its process
            await self._one_engine()
        return self.answers

    async def _one_engine(self) -> None:
        self.inside.clear()
        engine, gate, died = f"engine {self.starts}", Gate(company(self.concurrency)), asyncio.Event()
        tasks = [asyncio.create_task(self._ask(engine, gate, died, n)) for n in range(self.reports)]
        death = asyncio.create_task(died.wait())
        everyone = asyncio.gather(*tasks)
        await asyncio.wait([death, everyone], return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        everyone.cancel()
        await asyncio.gather(death, everyone, return_exceptions=True)

    async def _ask(self, engine: str, gate: Gate, died: asyncio.Event, n: int) -> None:
        deaths = self.ledger.arrive(str(n), engine)
        if deaths >= MAX_DEATHS:
            self.answers[n] = False
            return
        async with gate.enter(deaths):
            self.ledger.begin(str(n), engine)
            self.read[n] += 1
            self.inside[deaths] += 1
            assert sum(count > 0 for count in self.inside.values()) == 1, "suspects met others"
            await asyncio.sleep(0)
            self.inside[deaths] -= 1
            if n in self.poison:
                died.set()
            if died.is_set():
                await asyncio.Event().wait()  # nothing goes on in a dead process
            self.ledger.end(str(n))
            self.answers[n] = True


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=4), st.integers(1, 12))
def test_the_poisoned_reports_are_set_apart_and_no_other(reports: int, poison: set[int], concurrency: int) -> None:
    guilty = frozenset(n for n in poison if n < reports)
    answers = asyncio.run(Cluster(reports, guilty, concurrency).run())
    assert answers == {n: n not in guilty for n in range(reports)}


def test_one_poisoned_report_costs_three_deaths() -> None:
    cluster = Cluster(100, frozenset({42}), 16)
    asyncio.run(cluster.run())
    assert cluster.starts == MAX_DEATHS + 1
    assert cluster.read[42] == MAX_DEATHS


def test_suspects_are_read_in_smaller_company() -> None:
    assert company(256) == {0: 256, 1: 16, 2: 1}
    assert company(1) == {0: 1, 1: 1, 2: 1}

    async def most_at_once(deaths: int) -> int:
        gate, inside, most = Gate(company(9)), 0, 0

        async def one() -> None:
            nonlocal inside, most
            async with gate.enter(deaths):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(one() for _ in range(30)))
        return most

    assert [asyncio.run(most_at_once(d)) for d in range(3)] == [9, 3, 1]


def test_suspects_never_meet_others_and_go_first() -> None:
    async def order() -> list[int]:
        gate, seen = Gate(company(4)), []

        async def one(deaths: int) -> None:
            async with gate.enter(deaths):
                seen.append(deaths)
                await asyncio.sleep(0.001)

        first = [asyncio.create_task(one(0)) for _ in range(4)]
        await asyncio.sleep(0)
        rest = [asyncio.create_task(one(d)) for d in (0, 0, 1, 2, 1)]
        await asyncio.gather(*first, *rest)
        return seen

    assert asyncio.run(order()) == [0, 0, 0, 0, 2, 1, 1, 0, 0]


def test_a_place_is_given_back_when_reading_fails() -> None:
    async def fail_then_read() -> str:
        gate = Gate(company(1))
        with pytest.raises(ZeroDivisionError):
            async with gate.enter(0):
                raise ZeroDivisionError
        async with gate.enter(2):
            return "read"

    assert asyncio.run(fail_then_read()) == "read"
