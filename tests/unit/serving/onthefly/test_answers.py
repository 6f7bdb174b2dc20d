"""Queries with deadlines and tokens, against an archive that stores all; and the two parts behind, without Ray."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.preprocess.fake_detectors import Shares
from tests.unit.retrieval.made_up import publish, queries
from tests.unit.retrieval.test_partial import CONFIG, EXAMS, Computes
from tests.unit.serving.onthefly.test_look import CONFIG as REGIONS
from tests.unit.serving.onthefly.test_look import INSIDE, source
from wristmir_ray.anatomy import Region
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import decode_png, encode_png
from wristmir_ray.retrieval.unstored import Found, Known, Source, State
from wristmir_ray.serving import api
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.serving.onthefly.answers import answer
from wristmir_ray.serving.onthefly.cache import Cache
from wristmir_ray.serving.onthefly.flights import Flights
from wristmir_ray.serving.onthefly.look import Looker
from wristmir_ray.serving.onthefly.parts import Bones, Look
from wristmir_ray.serving.service import Query

SECRET = b"s" * 32
LINEAGE = api.Lineage(index="i2", encoder="e", roi_detector="r", bone_detector="b")
BOX = api.PixelBox(x0_px=1, y0_px=2, x1_px=3, y1_px=4)


@dataclass
class World:
    full: Archive
    bare: Archive
    compute: Computes

    def ask(self, query: Query) -> api.SearchAnswer | api.Problem:
        return asyncio.run(answer(self.bare, query, self.compute, SECRET, 9.0))


@pytest.fixture
def world(tmp_path: Path) -> World:
    pins = Pins(LINEAGE, "c", "e", "digest", "p")
    numbers = np.arange(EXAMS)
    full = publish(str(tmp_path), numbers, CONFIG)
    bare = publish(str(tmp_path), numbers, CONFIG, "i2", stored=[Region.WRIST])
    none: Any = None
    return World(*(Archive("a", i, none, pins, Known(i, 1000)) for i in (full, bare)), Computes(full))


def by_image(world: World, **parameters: Any) -> Query:
    vectors = queries(np.random.default_rng(3), world.full.index)
    wanted = api.SearchParameters(**{"pool": 30, "k": 30, "deadline_s": 5, **parameters})
    return Query(wanted, {r: vectors[r] for r in (Region.WRIST, wanted.region)}, boxes={Region.WRIST: BOX}, seconds=5.0)


def shown(found: api.SearchAnswer) -> Any:
    """All of an answer but times, runs, and what only one that was computed says; made-up boxes are also of no bone."""
    hits = [h.model_copy(update={"box": None, "lineage": {}}) for h in found.hits]
    return found.model_copy(update={"hits": hits, "stage_ms": {}, "coverage": None, "token": None, "query_boxes": {}})


def test_a_token_goes_on_to_the_answer_of_the_archive_that_stores_all(world: World) -> None:
    world.compute.most = 4
    query = by_image(world, laterality="left", one_a_patient=True)
    found = world.ask(query)
    shares = []
    while isinstance(found, api.SearchAnswer) and found.token:
        assert found.coverage is not None
        shares.append(found.coverage.share)
        assert found.coverage.pending + found.coverage.compared + found.coverage.no_region == found.coverage.pool
        found = world.ask(Query(api.SearchParameters(region=Region.ULNAR_STYLOID, k=1), token=found.token, seconds=5.0))
    assert isinstance(found, api.SearchAnswer)
    wanted = world.full.search(query)
    assert isinstance(wanted, api.SearchAnswer)
    assert shown(found) == shown(wanted)
    assert shares == sorted(shares)
    assert found.coverage == api.Coverage(
        share=1.0,
        pool=found.coverage.pool if found.coverage else 0,
        compared=sum(h.region_state is api.RegionState.COMPARED for h in _pool(world, query)),
        no_region=sum(h.region_state is api.RegionState.NO_REGION for h in _pool(world, query)),
        unusable=0,
        pending=0,
    )
    assert dict(found.query_boxes) == {Region.WRIST: BOX}


def _pool(world: World, query: Query) -> list[api.Hit]:
    parameters = query.parameters.model_copy(update={"one_a_patient": False, "k": 1000, "pool": 30})
    found = world.full.search(replace(query, parameters=parameters))
    assert isinstance(found, api.SearchAnswer)
    return found.hits


def test_a_token_of_another_index_or_maker_is_refused(world: World) -> None:
    world.compute.most = 1
    found = world.ask(by_image(world))
    assert isinstance(found, api.SearchAnswer)
    assert found.token
    again = Query(api.SearchParameters(), token=found.token)
    later = replace(world.bare.pins, lineage=LINEAGE.model_copy(update={"index": "i3"}))
    world.bare.pins = later
    stale = world.ask(again)
    assert isinstance(stale, api.Problem)
    assert (stale.status, stale.code) == (410, "stale_token")
    forged = world.ask(Query(api.SearchParameters(), token="A" + found.token[1:]))
    assert isinstance(forged, api.Problem)
    assert (forged.status, forged.code) == (422, "invalid_token")


def test_without_time_the_answer_is_stage_1s_and_nothing_is_computed(world: World) -> None:
    found = world.ask(replace(by_image(world), seconds=0.0))
    assert isinstance(found, api.SearchAnswer)
    assert [h.stage1_rank for h in found.hits] == list(range(1, 31))
    assert {h.region_state for h in found.hits} == {api.RegionState.PENDING}
    assert world.compute.asked == []
    assert found.fallback is None


def test_whole_wrists_need_no_time(world: World) -> None:
    found = world.ask(by_image(world, mode="global"))
    assert isinstance(found, api.SearchAnswer)
    assert (found.coverage, found.token, {h.region_state for h in found.hits}) == (None, None, {None})


class Handle:
    """A part behind Ray Serve's way of calling it."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return type("Method", (), {"remote": staticmethod(getattr(self._part, name))})


@dataclass
class Encode:
    """Embeds a crop as its mean and spread."""

    sizes: list[int] = field(default_factory=list)

    async def encode_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        self.sizes.append(len(crops))
        rows = np.array([[c.mean() + 1, c.std()] for c in crops], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def parts(folder: Path) -> tuple[Bones, Look, Encode]:
    encode = Encode()
    look, bones = Look.__new__(Look), Bones.__new__(Bones)  # their own start reads a published archive
    look._looker, look._encode = Looker(Shares(INSIDE), REGIONS, DecodeConfig()), Handle(encode)
    look._encoder = None
    bones._look = Handle(look)
    bones._flights = Flights(Cache(str(folder / "cache"), "m", 2, 1 << 20), bones._batch)
    return bones, look, encode


def files(folder: Path, count: int) -> list[Source]:
    for i in range(count):
        pixels = np.random.default_rng(i).integers(30, 255, (90, 70), np.uint8)
        (folder / f"{i}.png").write_bytes(encode_png(pixels))
    return [source(folder / f"{i}.png", exam_id=str(i)) for i in range(count)]


def test_look_encodes_by_itself_as_encode_does(tmp_path: Path) -> None:
    class Own:
        def encode_images(self, crops: Sequence[np.ndarray]) -> np.ndarray:  # in a thread: no loop runs there
            return asyncio.run(Encode().encode_crops(crops)) if crops else np.empty((0, 2), np.float32)

    async def test() -> None:
        _, look, encode = parts(tmp_path)
        look._looking = asyncio.Lock()
        sources = files(tmp_path, 5)
        regions = (Region.DISTAL_ULNA, Region.ULNAR_STYLOID)
        apart = [found for region in regions for found in await look.find(sources, region)]
        assert encode.sizes == [5]
        look._encoder = Own()  # type: ignore[assignment]
        near = [found for region in regions for found in await look.find(sources, region)]
        assert encode.sizes == [5]
        assert [f.state for f in near if f] == [State.COMPARED] * 5 + [State.NO_REGION] * 5
        for one, other in zip(apart, near, strict=True):
            assert one is not None
            assert other is not None
            assert (one.state, one.box) == (other.state, other.box)
            np.testing.assert_array_equal(one.vector, other.vector)

    asyncio.run(test())


def test_bones_and_look_compute_once_what_sources_hold(tmp_path: Path) -> None:
    async def test() -> None:
        bones, look, encode = parts(tmp_path)
        look._looking = asyncio.Lock()
        sources = files(tmp_path, 20)
        (tmp_path / "7.png").unlink()
        both = await asyncio.gather(*(bones.find(sources, Region.DISTAL_ULNA, 30.0) for _ in range(2)))
        for found in both:
            states = [f.state for f in found if f]
            assert states == [State.SOURCE_UNREADABLE if i == 7 else State.COMPARED for i in range(20)]
        assert sum(encode.sizes) == 19
        assert max(encode.sizes) == 8  # calls of Look are shared among its replicas
        none: list[Found | None] = await bones.find(sources[:2], Region.ULNAR_STYLOID, 30.0)
        assert [f.state for f in none if f] == [State.NO_REGION] * 2
        assert (await bones.figures())["computed"] == 21
        png = await look.crop(sources[0], Region.WRIST)
        assert isinstance(png, bytes)
        assert decode_png(png).ndim == 2
        missing = [await look.crop(s, r) for s, r in ((sources[0], Region.ULNAR_STYLOID), (sources[7], Region.WRIST))]
        look._looker.fetch = lambda sources: [None] * len(sources)  # type: ignore[method-assign]  # the store is away
        missing.append(await look.crop(sources[0], Region.WRIST))
        told = [(p.status, p.code) for p in missing if isinstance(p, api.Problem)]
        assert told == [(404, "no_region"), (410, "source_unreadable"), (503, "store_away")]

    asyncio.run(test())
