"""Two-stage search against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.search import Mode, search
from wristmir_ray.search.coarse import scores, top
from wristmir_ray.search.two_stage import NO_QUERY_REGION, rerank


def _unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    values = rng.integers(-2, 3, (n, d)).astype(np.float32)  # small integers: many exact ties
    values[:, 0] += 5
    return values / np.linalg.norm(values, axis=1, keepdims=True)


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, object]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    wrists, bones = _unit(rng, n, d), _unit(rng, n, d)
    bones[rng.random(n) < 0.2] = np.nan
    allowed = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    return {"q": _unit(rng, 2, d), "wrists": wrists, "bones": bones, "allowed": allowed}


def _brute(world: dict[str, object], mode: Mode, pool: int, k: int) -> list[int]:
    q, wrists, bones = world["q"], world["wrists"], world["bones"]
    whole, local = scores(q[0], wrists), scores(q[1], bones)
    rows = [i for i in range(len(wrists)) if world["allowed"][i]]
    if mode is Mode.REGION:
        return sorted((i for i in rows if not np.isnan(local[i])), key=lambda i: (-local[i], i))[:k]
    first = sorted(rows, key=lambda i: (-whole[i], i))
    if mode is Mode.GLOBAL:
        return first[:k]
    pooled = first[:pool]
    with_bone = [i for i in pooled if not np.isnan(local[i])]
    without = [i for i in pooled if np.isnan(local[i])]
    return (sorted(with_bone, key=lambda i: -local[i]) + without)[:k]


@given(worlds(), st.sampled_from(list(Mode)), st.integers(1, 50), st.integers(1, 20))
def test_search_equals_brute_force(world: dict[str, object], mode: Mode, pool: int, k: int) -> None:
    q, allowed = world["q"], world["allowed"]
    hits = search(q[0], q[1], world["wrists"], world["bones"], mode=mode, pool=pool, k=k, allowed_N=allowed)
    assert hits.rows.tolist() == _brute(world, mode, pool, k)
    assert allowed[hits.rows].all()
    assert hits.fallback is None


@given(worlds(), st.integers(1, 10))
def test_a_pool_of_everything_is_the_region_search(world: dict[str, object], k: int) -> None:
    q, n = world["q"], len(world["wrists"])
    two = search(q[0], q[1], world["wrists"], world["bones"], mode=Mode.TWO_STAGE, pool=n, k=n)
    one = search(q[0], q[1], world["wrists"], world["bones"], mode=Mode.REGION, pool=1, k=n)
    found = ~np.isnan(two.region_scores)
    assert sorted(two.rows[found].tolist()) == sorted(one.rows.tolist())
    assert (two.region_scores[found] == one.region_scores).all()


def test_without_the_querys_bone_stage_one_decides_and_says_so() -> None:
    rng = np.random.default_rng(0)
    wrists, bones = _unit(rng, 20, 4), _unit(rng, 20, 4)
    plain = search(wrists[0], bones[0], wrists, bones, mode=Mode.GLOBAL, pool=20, k=5)
    for mode in (Mode.TWO_STAGE, Mode.REGION):
        hits = search(wrists[0], None, wrists, bones, mode=mode, pool=20, k=5)
        assert hits.fallback == NO_QUERY_REGION
        assert hits.rows.tolist() == plain.rows.tolist()
        assert np.isnan(hits.region_scores).all()


def test_ranks_of_stage_one_travel_with_the_hits() -> None:
    rng = np.random.default_rng(1)
    wrists, bones = _unit(rng, 30, 4), _unit(rng, 30, 4)
    hits = search(wrists[0], bones[0], wrists, bones, mode=Mode.TWO_STAGE, pool=12, k=12)
    order = top(scores(wrists[0], wrists), 12)
    assert sorted(hits.stage1_ranks.tolist()) == list(range(1, 13))
    assert (order[hits.stage1_ranks - 1] == hits.rows).all()


def test_a_search_needs_a_vector_its_mode_can_use() -> None:
    wrists = _unit(np.random.default_rng(0), 3, 4)
    with pytest.raises(ValueError, match="whole-wrist"):
        search(None, wrists[0], wrists, wrists, mode=Mode.TWO_STAGE, pool=3, k=1)
    assert len(search(None, wrists[0], wrists, wrists, mode=Mode.REGION, pool=3, k=1).rows) == 1


@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 60))
def test_a_score_depends_on_no_other_row(seed: int, n: int, part: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(n, 33)).astype(np.float32)
    query = rng.normal(size=33).astype(np.float32)
    whole = scores(query, gallery)
    pieces = [scores(query, gallery[i : i + part]) for i in range(0, n, part)]
    assert (np.concatenate(pieces) == whole).all()


@given(st.lists(st.one_of(st.floats(-1, 1, width=32), st.just(float("nan"))), max_size=30))
def test_rerank_permutes_the_pool(values: list[float]) -> None:
    pool = np.asarray(values, np.float32)
    order = rerank(pool)
    assert sorted(order.tolist()) == list(range(len(pool)))
    assert not np.isnan(pool[order][: int((~np.isnan(pool)).sum())]).any()
