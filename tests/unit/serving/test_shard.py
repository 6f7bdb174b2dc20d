"""Search over shards, their deployments in one process; handles are fakes, no Ray is started."""

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from tests.unit.serving.made_archive import BARE, EXAMS, publish_index
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.cut import Share
from wristmir_ray.serving import api, calls
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.config import SearchSettings, ServeArgs
from wristmir_ray.serving.deployments import Search
from wristmir_ray.serving.lineage import preflight
from wristmir_ray.serving.service import Query
from wristmir_ray.serving.shard import KEPT_S, Shard, Shares, shares_of


class Handle:
    """A deployment handle of shards that live here; replicas can be taken away, slowed or started anew."""

    def __init__(self, *replicas: Shard) -> None:
        self.replicas = list(replicas)
        self.away = False
        self.waits_s = 0.0
        self.runs: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return _Method(self, name)

    def broadcast(self, method: str, *given: Any) -> "_Broadcast":
        return _Broadcast(self, method, given)

    async def call(self, replica: Shard, method: str, given: Any) -> Any:
        if self.away:
            raise RayActorError
        await asyncio.sleep(self.waits_s)
        self.runs.append(given[0].run)
        return pickle.loads(pickle.dumps(await getattr(replica, method)(*pickle.loads(pickle.dumps(given)))))


class _Method:
    def __init__(self, handle: Handle, name: str) -> None:
        self._handle, self._name = handle, name

    def remote(self, *given: Any) -> Coroutine[Any, Any, Any]:
        return self._handle.call(self._handle.replicas[0], self._name, given)


class _Broadcast:
    def __init__(self, handle: Handle, method: str, given: Any) -> None:
        self._calls = [handle.call(r, method, given) for r in handle.replicas]

    async def results_async(self) -> list[Any]:
        return list(await asyncio.gather(*self._calls))


@pytest.fixture
def sharded(args: ServeArgs) -> ServeArgs:
    """Two runs: r1 of all exams, r2 after the first two were deleted."""
    from wristmir_ray.retrieval.publishing import update

    publish_index(args.root)
    update(args.root, _none(args.root), {r: v[:0] for r, v in _vectors(args.root).items()}, delete=EXAMS[:2])
    return args.model_copy(update={"shards": 3, "index_run": "r1"})


def _none(root: str) -> Any:
    from wristmir_ray.retrieval.index import Index

    return Index.load(root, "r1").exams.slice(0, 0)


def _vectors(root: str) -> Any:
    from wristmir_ray.retrieval.index import Index

    return Index.load(root, "r1").segments[0].vectors


def second_run(root: str) -> str:
    return storage.published(root, "index").run_id


def handles(args: ServeArgs) -> list[Handle]:
    return [Handle(Shard(args, s)) for s in shares_of(args, preflight(args).lineage.index)]


def run(args: ServeArgs, shards: list[Handle], test: Callable[[Search], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        search = Search(args, preflight(args), None, None, *shards)
        await search.reconfigure({})
        await test(search)

    asyncio.run(whole())


def whole(args: ServeArgs, index_run: str | None = None) -> Archive:
    return Archive.load(args, preflight(args), SearchSettings(index_run=index_run))


def shown(found: Any) -> Any:
    return found.model_copy(update={"stage_ms": {}}) if isinstance(found, api.SearchAnswer) else found


QUERIES = [
    Query(api.SearchParameters(region=region, mode=mode, k=4, pool=4, one_a_patient=one), exam_id=exam)
    for exam in (EXAMS[0], EXAMS[3], BARE, "f" * 32)
    for region, mode in (*((Region.DISTAL_ULNA, m) for m in api.Mode), (Region.WRIST, api.Mode.GLOBAL))
    for one in (False, True)
]


def test_everything_is_answered_as_by_one_index(sharded: ServeArgs) -> None:
    one = whole(sharded)

    async def test(search: Search) -> None:
        for query in QUERIES:
            assert shown(await search.search(query)) == shown(one.search(query))
        for exam in (*EXAMS, "f" * 32):
            assert await search.exam(exam) == one.exam(exam)
            assert await search.exams_run(exam) == one.exams_run(exam)
            assert await search.crop(exam, Region.DISTAL_ULNA) == one.crop(exam, Region.DISTAL_ULNA)
        assert await search.summary() == await search.ready() == one.summary()

    run(sharded, handles(sharded), test)


def test_no_answer_mixes_two_runs_while_they_are_swapped(sharded: ServeArgs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "SHARD_TIMEOUT_S", 30.0)
    second = second_run(sharded.root)
    wanted = {r: whole(sharded, r) for r in ("r1", second)}
    query = Query(api.SearchParameters(), exam_id=EXAMS[4])
    shards = handles(sharded)

    async def test(search: Search) -> None:
        seen = []

        async def keep_asking() -> None:
            while len(seen) < 6 or seen[-1] == "r1":
                found = await search.search(query)
                assert isinstance(found, api.SearchAnswer)
                assert shown(found) == shown(wanted[found.lineage.index].search(query))
                seen.append(found.lineage.index)

        asking = [asyncio.ensure_future(keep_asking()) for _ in range(4)]
        await asyncio.sleep(0.05)
        shards[2].waits_s = 0.1  # it opens the new run last
        await search.reconfigure({"index_run": second})
        await asyncio.gather(*asking)
        assert set(seen) == {"r1", second}
        summary = await search.summary()
        assert isinstance(summary, api.ArchiveSummary)
        assert (summary.exams, summary.lineage.index) == (4, second)

    run(sharded, shards, test)


def test_one_shard_that_cannot_open_the_new_run_keeps_the_old_one(sharded: ServeArgs) -> None:
    second = second_run(sharded.root)
    shards = handles(sharded)
    broken = shards[1].replicas[0]
    load = broken._shares._load

    def fails(share: Share) -> Any:
        if share.run == second:
            raise OSError("the disk is gone")
        return load(share)

    async def test(search: Search) -> None:
        broken._shares._load = fails
        await search.reconfigure({"index_run": second})
        assert (await search.summary()).lineage.index == "r1"
        assert shown(await search.search(QUERIES[0])) == shown(whole(sharded).search(QUERIES[0]))
        broken._shares._load = load
        await search.reconfigure({"index_run": second})
        assert (await search.summary()).lineage.index == second

    run(sharded, shards, test)


def test_a_shard_that_is_away_or_slow_is_a_503_and_never_an_answer(
    sharded: ServeArgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = handles(sharded)
    by_vector = Query(api.SearchParameters(), vectors=_upload(sharded))

    async def test(search: Search) -> None:
        wanted = shown(await search.search(by_vector))
        everything = (
            lambda: search.search(by_vector),
            lambda: search.search(QUERIES[0]),
            lambda: search.exam("f" * 32),  # also no 404: the shard that is away may hold it
            lambda: search.exams_run(EXAMS[0]),
            lambda: search.crop(EXAMS[0], Region.WRIST),
            search.ready,
        )
        for n, ask in enumerate(everything):
            shards[n % 3].away = True
            found = await ask()
            shards[n % 3].away = False
            assert isinstance(found, api.Problem)
            assert (found.status, found.code) == (503, "part_failed")
        monkeypatch.setattr(calls, "SHARD_TIMEOUT_S", 0.05)
        shards[0].waits_s = 1.0
        slow = await search.search(by_vector)
        assert isinstance(slow, api.Problem)
        assert (slow.status, slow.code) == (503, "not_ready")
        monkeypatch.setattr(calls, "SHARD_TIMEOUT_S", 30.0)
        shards[0].waits_s = 0.0
        assert shown(await search.search(by_vector)) == wanted

    run(sharded, shards, test)


def _upload(args: ServeArgs) -> Any:
    return {r: v[2] for r, v in _vectors(args.root).items()}


def test_a_shard_started_anew_opens_what_it_is_asked_for(sharded: ServeArgs) -> None:
    """Also where the run that it was started with is deleted by then."""
    second = second_run(sharded.root)
    shards = handles(sharded)
    first = [s.replicas[0] for s in shards]

    async def test(search: Search) -> None:
        await search.reconfigure({"index_run": second})
        wanted = shown(await search.search(QUERIES[12]))
        manifest = Path(sharded.root) / "index" / "runs" / "r1" / "manifest.json"
        kept = manifest.rename(manifest.with_name("away"))
        anew = Shard(sharded, next(iter(first[1]._shares._asked)))
        assert len(anew._shares) == 0
        kept.rename(manifest)
        shards[1].replicas = [anew]
        assert shown(await search.search(QUERIES[12])) == wanted
        assert len(anew._shares) == 1

    run(sharded, shards, test)


def test_every_replica_opens_a_run_before_it_answers(sharded: ServeArgs) -> None:
    shards = [Handle(Shard(sharded, s), Shard(sharded, s)) for s in shares_of(sharded, "r1")]

    async def test(search: Search) -> None:
        await search.reconfigure({"index_run": second_run(sharded.root)})
        assert [len(r._shares) for s in shards for r in s.replicas] == [2] * 6

    run(sharded, shards, test)


def test_shards_hold_what_is_answered_from_without_being_asked(
    sharded: ServeArgs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wristmir_ray.serving import deployments

    monkeypatch.setattr(deployments, "HOLD_EVERY_S", 0.02)
    shards = handles(sharded)

    async def test(search: Search) -> None:
        shards[0].replicas = [Shard(sharded, Share("gone", ((0, 1),)))]
        for _ in range(500):
            if len(shards[0].replicas[0]._shares):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a new replica opened nothing")

    run(sharded, shards, test)


def test_one_index_has_no_shards(sharded: ServeArgs) -> None:
    assert shares_of(sharded.model_copy(update={"shards": 1}), "r1") == []


def test_a_share_is_opened_once_and_let_go_when_nobody_asks() -> None:
    now, opened = [0.0], []

    def load(share: Share) -> Any:
        opened.append(share.run)
        if share.run == "bad":
            raise OSError("no disk")
        return f"index {share.run}"

    async def test() -> None:
        a, b, bad = (Share(run, ((0, 1),)) for run in ("a", "b", "bad"))
        shares = Shares(load, clock=lambda: now[0])
        shares.open(a)
        assert await asyncio.gather(*(shares.get(b) for _ in range(5))) == ["index b"] * 5
        assert opened == ["a", "b"]
        for _ in range(2):
            with pytest.raises(OSError, match="no disk"):
                await shares.get(bad)
        assert opened == ["a", "b", "bad", "bad"]
        now[0] += KEPT_S / 2
        await shares.get(a)
        shares.release()
        assert len(shares) == 2
        now[0] += KEPT_S / 2 + 1
        shares.release()
        assert len(shares) == 1
        now[0] += 10 * KEPT_S
        shares.release()
        assert len(shares) == 1, "what was asked for last stays"
        assert await shares.get(a) == "index a"
        assert await shares.get(b) == "index b"
        assert opened == ["a", "b", "bad", "bad", "b"]

    asyncio.run(test())


def test_a_share_that_took_long_to_open_is_not_let_go_for_it() -> None:
    """Others may open theirs later still; who waits for all asks again only then."""
    now = [0.0]

    def load(share: Share) -> Any:
        now[0] += 2 * KEPT_S if share.run == "slow" else 0
        return share.run

    async def test() -> None:
        shares = Shares(load, clock=lambda: now[0])
        shares.open(Share("old", ((0, 1),)))
        assert await shares.get(Share("slow", ((0, 1),))) == "slow"
        await shares.get(Share("old", ((0, 1),)))
        now[0] += KEPT_S / 2
        shares.release()
        assert len(shares) == 2

    asyncio.run(test())


def test_a_shard_answers_searches_alone(sharded: ServeArgs) -> None:
    (handle, *_) = handles(sharded)
    share = shares_of(sharded, "r1")[0]
    with pytest.raises(ValueError, match="not asked for"):
        asyncio.run(handle.replicas[0].ask(share, "__class__"))
