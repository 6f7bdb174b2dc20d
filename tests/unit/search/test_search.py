"""Two-stage search against brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.search import Mode, search, shortlists
from wristmir_ray.search.coarse import rounding, scores, top
from wristmir_ray.search.rerank import rerank
from wristmir_ray.search.two_stage import NO_QUERY_REGION


def _unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    values = rng.integers(-2, 3, (n, d)).astype(np.float32)  # small integers: many exact ties
    values[:, 0] += 5
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def _normal(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    values = rng.normal(size=(n, d)).astype(np.float32)
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
    return (sorted(with_bone, key=lambda i: (-local[i], i)) + without)[:k]


@given(worlds(), st.sampled_from(list(Mode)), st.integers(1, 50), st.integers(1, 20))
def test_search_equals_brute_force(world: dict[str, object], mode: Mode, pool: int, k: int) -> None:
    q, allowed = world["q"], world["allowed"]
    hits = search(q[0], q[1], world["wrists"], world["bones"], mode=mode, pool=pool, k=k, allowed_N=allowed)
    assert hits.rows.tolist() == _brute(world, mode, pool, k)
    assert allowed[hits.rows].all()
    assert hits.fallback is None


@given(st.integers(0, 2**32), st.sampled_from(list(Mode)), st.integers(1, 60), st.integers(1, 20))
def test_search_equals_brute_force_in_float64(seed: int, mode: Mode, pool: int, k: int) -> None:
    """No row that float64 puts clearly higher is missing, and none stands clearly above a better one."""
    rng = np.random.default_rng(seed)
    q, wrists, bones = (_normal(rng, n, 48) for n in (2, 40, 40))
    bones[rng.random(40) < 0.2] = np.nan
    hits = search(q[0], q[1], wrists, bones, mode=mode, pool=pool, k=k)
    whole, local = wrists.astype(float) @ q[0].astype(float), bones.astype(float) @ q[1].astype(float)
    if mode is Mode.TWO_STAGE:
        pooled = np.lexsort((np.arange(40), -whole))[:pool]
        key = np.where(np.isnan(local[pooled]), -2 - np.arange(len(pooled)), local[pooled])
        best, seen = np.sort(key)[::-1][:k], dict(zip(pooled.tolist(), key.tolist(), strict=True))
        found = np.array([seen[r] for r in hits.rows.tolist()])
    else:
        key = whole if mode is Mode.GLOBAL else local[~np.isnan(local)]
        best, found = np.sort(key)[::-1][:k], (whole if mode is Mode.GLOBAL else local)[hits.rows]
    assert found == pytest.approx(best, abs=1e-6)
    assert len(set(hits.rows.tolist())) == len(best)


@given(worlds(), st.integers(1, 50))
def test_a_pool_of_everything_is_the_region_search(world: dict[str, object], k: int) -> None:
    q, n, allowed = world["q"], len(world["wrists"]), world["allowed"]
    two = search(q[0], q[1], world["wrists"], world["bones"], mode=Mode.TWO_STAGE, pool=n, k=k, allowed_N=allowed)
    one = search(q[0], q[1], world["wrists"], world["bones"], mode=Mode.REGION, pool=1, k=k, allowed_N=allowed)
    assert two.rows[: len(one.rows)].tolist() == one.rows.tolist()
    assert (two.region_scores[: len(one.rows)] == one.region_scores).all()
    assert np.isnan(two.region_scores[len(one.rows) :]).all()


@given(worlds(), st.integers(1, 50))
def test_candidates_without_the_bone_come_last_in_stage_one_order(world: dict[str, object], pool: int) -> None:
    q = world["q"]
    hits = search(q[0], q[1], world["wrists"], world["bones"], mode=Mode.TWO_STAGE, pool=pool, k=pool)
    lacking = np.isnan(hits.region_scores)
    assert not lacking[: int((~lacking).sum())].any()
    assert (np.diff(hits.stage1_ranks[lacking]) > 0).all()


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


@given(
    st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 2, 7, 33, 64, 256, 512, 513])
)
def test_a_score_depends_on_no_other_row(seed: int, n: int, part: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(n, dim)).astype(np.float32)
    query = rng.normal(size=dim).astype(np.float32)
    whole = scores(query, gallery)
    pieces = [scores(query, gallery[i : i + part]) for i in range(0, n, part)]
    chosen = rng.permutation(n)[:part]
    assert (np.concatenate(pieces) == whole).all()
    assert (scores(query, gallery[chosen]) == whole[chosen]).all()
    assert (scores(query, np.asfortranarray(gallery)) == whole).all()


def test_scores_stay_within_the_stated_rounding() -> None:
    """Einsum, BLAS and float64 agree to `rounding`: what every shortlist relies on."""
    rng = np.random.default_rng(3)
    for dim in (8, 256, 768):
        query, gallery = _normal(rng, 1, dim)[0], _normal(rng, 4000, dim)
        exact = gallery.astype(float) @ query.astype(float)
        for found in (scores(query, gallery), gallery @ query):
            assert np.abs(found - exact).max() <= rounding(dim)


@given(worlds(), st.sampled_from(list(Mode)), st.integers(1, 12), st.integers(1, 12), st.integers(1, 10))
def test_many_queries_at_once_give_what_each_gives_alone(
    world: dict[str, object], mode: Mode, pool: int, k: int, patients: int
) -> None:
    wrists, bones = world["wrists"], world["bones"]
    wrists = np.where(world["allowed"][:, None] | (np.arange(len(wrists)) < 3)[:, None], wrists, np.nan)
    groups = np.arange(len(wrists)) % patients
    coarse = shortlists(wrists, wrists, max(pool, k), groups, groups)
    fine = shortlists(bones, bones, k, groups, groups)
    for i in np.flatnonzero(~np.isnan(wrists[:, 0])):
        bone = None if np.isnan(bones[i, 0]) else bones[i]
        near = fine[i] if mode is Mode.REGION and bone is not None else coarse[i]
        asked = {"mode": mode, "pool": pool, "k": k, "allowed_N": groups != groups[i]}
        alone = search(wrists[i], bone, wrists, bones, **asked)
        together = search(wrists[i], bone, wrists, bones, **asked, shortlist=near)
        assert together.rows.tolist() == alone.rows.tolist()
        assert (together.stage1_ranks == alone.stage1_ranks).all()
        assert np.array_equal(together.global_scores, alone.global_scores, equal_nan=True)
        assert np.array_equal(together.region_scores, alone.region_scores, equal_nan=True)


def test_a_shortlist_is_short() -> None:
    vectors = _normal(np.random.default_rng(0), 700, 32)
    own = np.arange(700)
    sizes = [len(rows) for rows in shortlists(vectors, vectors, 10, own, own)]
    assert len(sizes) == 700
    assert 10 <= min(sizes) <= max(sizes) < 20


@given(st.lists(st.one_of(st.floats(-1, 1, width=32), st.just(float("nan"))), max_size=30), st.integers(0, 2**32))
def test_rerank_permutes_the_pool(values: list[float], seed: int) -> None:
    pool = np.asarray(values, np.float32)
    rows = np.random.default_rng(seed).permutation(len(pool))
    order = rerank(pool, rows)
    assert sorted(order.tolist()) == list(range(len(pool)))
    ranked = pool[order][: int((~np.isnan(pool)).sum())]
    assert not np.isnan(ranked).any()
    assert (np.diff(ranked) <= 0).all()
    tied = np.flatnonzero(np.diff(ranked) == 0)
    assert (rows[order][tied] < rows[order][tied + 1]).all()
