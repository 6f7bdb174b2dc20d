"""The cache of computed bones: what it keeps, for how long, and what becomes of it when its disk fails."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.anatomy import Box
from wristmir_ray.errors import StoreFailed
from wristmir_ray.retrieval.unstored import Found, State
from wristmir_ray.serving.onthefly import cache as module
from wristmir_ray.serving.onthefly.cache import BYTES_A_ROW, Cache

DIM = 4
ROOM = 1 << 20


@pytest.fixture
def s3_place(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/bones"


def found(i: int) -> Found:
    """Return a made-up fact; every fifth is a bone that is not there."""
    if i % 5 == 0:
        return Found(State.NO_REGION)
    return Found(State.COMPARED, np.full(DIM, i, np.float32), Box(i, i + 0.5, i + 1, i + 2))


def same(a: Found | None, b: Found) -> bool:
    assert a is not None
    vectors = (a.vector is None and b.vector is None) or np.array_equal(a.vector, b.vector)  # type: ignore[arg-type]
    return bool(vectors) and (a.state, a.box) == (b.state, b.box)


def files(folder: Path) -> list[str]:
    return storage.list_files(str(folder), ".parquet")


@settings(deadline=None, max_examples=25)
@given(batches=st.lists(st.lists(st.integers(0, 200), min_size=1, max_size=20), max_size=12))
def test_what_was_written_is_there_after_a_restart_in_few_files(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    first = Cache(str(folder), "m", DIM, ROOM)
    for batch in batches:
        for i in batch:
            first.put(str(i), found(i))
        assert first.flush()
    again = Cache(str(folder), "m", DIM, ROOM)
    every = {i for batch in batches for i in batch}
    assert len(again) == len(first) == len(every)
    assert all(same(again.get(str(i)), found(i)) for i in every)
    assert len(files(folder)) <= 1 + np.log2(len(every) + 1)


def test_what_was_made_otherwise_is_not_read(tmp_path: Path) -> None:
    one = Cache(str(tmp_path), "m", DIM, ROOM)
    one.put("a", found(1))
    one.flush()
    assert Cache(str(tmp_path), "other", DIM, ROOM).get("a") is None
    assert Cache(str(tmp_path), "m", DIM + 1, ROOM).get("a") is None


def test_it_keeps_to_its_size_the_oldest_go_first_and_their_files_with_them(tmp_path: Path) -> None:
    small = Cache(str(tmp_path), "m", DIM, 10 * (4 * DIM + BYTES_A_ROW))
    for i in range(200):
        small.put(str(i), found(i))
        small.flush()
        assert len(small) <= 10
    assert [small.get(str(i)) is not None for i in (189, 190, 199)] == [False, True, True]
    assert sum(len(storage.read_bytes(f)) for f in files(tmp_path)) < 40 * (4 * DIM + BYTES_A_ROW)


def test_a_full_disk_costs_nothing_but_what_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(str(tmp_path), "m", DIM, ROOM)

    def full(*args: object) -> None:
        raise StoreFailed("no space left")

    cache.put("a", found(1))
    with monkeypatch.context() as m:
        m.setattr(module.storage, "write_parquet", full)
        assert not cache.flush()
    assert (cache.write_failures, files(tmp_path)) == (1, [])
    assert same(cache.get("a"), found(1))
    cache.put("b", found(2))
    assert cache.flush()
    assert len(Cache(str(tmp_path), "m", DIM, ROOM)) == 2


def test_a_folder_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file" / "below"), "m", DIM, ROOM)
    cache.put("a", found(1))
    assert not cache.flush()
    assert cache.write_failures == 1


def test_a_file_cut_short_is_left_out(tmp_path: Path) -> None:
    for name in "ab":
        cache = Cache(str(tmp_path), "m", DIM, ROOM)
        cache.put(name, found(1))
        cache._files = []  # another writer: it takes in none of the first's
        cache.flush()
    one, _ = files(tmp_path)
    Path(one).write_bytes(Path(one).read_bytes()[:40])
    assert len(Cache(str(tmp_path), "m", DIM, ROOM)) == 1


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    one, two = (Cache(str(tmp_path), "m", DIM, ROOM) for _ in range(2))
    for i in range(40):
        (one if i % 2 else two).put(str(i), found(i))
        (one if i % 2 else two).flush()
    assert len(Cache(str(tmp_path), "m", DIM, ROOM)) == 40


def test_a_cache_that_was_deleted_under_it_goes_on(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path), "m", DIM, ROOM)
    cache.put("a", found(1))
    cache.flush()
    shutil.rmtree(tmp_path)
    cache.put("b", found(2))
    assert cache.flush()
    assert same(cache.get("a"), found(1))


def test_what_may_change_is_no_fact() -> None:
    with pytest.raises(ValueError, match="facts"):
        Cache(None, "m", DIM, ROOM).put("a", Found(State.SOURCE_UNREADABLE))


def test_on_s3(s3_place: str) -> None:
    one = Cache(s3_place, "m", DIM, ROOM)
    for i in range(3):
        one.put(str(i), found(i))
        one.flush()
    again = Cache(s3_place, "m", DIM, ROOM)
    assert all(same(again.get(str(i)), found(i)) for i in range(3))
    assert len(storage.list_files(s3_place, ".parquet")) <= 2
