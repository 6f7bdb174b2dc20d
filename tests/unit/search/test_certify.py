"""The certified scan gives the bits of the full one, whatever the vectors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.search.certify import Codes, axes, choose, compress, slack
from wristmir_ray.search.coarse import scores, scores_at, top
from wristmir_ray.search.scan import best, products

DIM = 48


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def crowded(rng: np.random.Generator, n: int) -> np.ndarray:
    """Few directions hold nearly everything, as in trained embeddings."""
    spectrum = np.arange(1, DIM + 1.0) ** -1.5
    return _unit(rng.normal(size=(n, DIM)) * spectrum @ np.linalg.qr(rng.normal(size=(DIM, DIM)))[0])


def isotropic(rng: np.random.Generator, n: int) -> np.ndarray:
    return _unit(rng.normal(size=(n, DIM)))


def equal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.repeat(_unit(rng.normal(size=(1, DIM))), n, axis=0)


def doubled(rng: np.random.Generator, n: int) -> np.ndarray:
    return crowded(rng, n)[rng.integers(0, n // 8 + 1, n)]


def near_ties(rng: np.random.Generator, n: int) -> np.ndarray:
    """Rows that differ in a last bit or two: their order is that of rounding alone."""
    rows = crowded(rng, 1) + rng.integers(-1, 2, (n, DIM)) * np.float32(2.0**-27)
    return rows.astype(np.float32)


MADE = [crowded, isotropic, equal, doubled, near_ties]


@given(
    st.integers(0, 2**32),
    st.sampled_from(MADE),
    st.integers(2, 1500),
    st.integers(1, 40),
    st.sampled_from([4, 8, 16]),
    st.sampled_from([0.0, 0.02, 0.15, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
)
def test_the_certified_answer_is_the_exact_one(
    seed: int, made: object, n: int, k: int, width: int, share: float, missing: float, batched: bool
) -> None:
    rng = np.random.default_rng(seed)
    gallery = made(rng, n)
    gallery[rng.random(n) < missing] = np.nan
    here = ~np.isnan(gallery[:, 0])
    allowed = None if share == 1.0 and here.all() else here & (rng.random(n) < share)
    turned = axes(gallery) if here.sum() else np.eye(DIM)
    codes = compress(gallery, turned[:width])
    inside = gallery[here][:1]
    for query in [*isotropic(rng, 1), *inside]:
        coarse = products(np.stack([query] * 3), gallery, codes)[1] if batched else None
        found = best(query, gallery, k, allowed, codes, coarse)
        plain = scores(query, gallery)
        order = top(plain, k, allowed)
        assert found.rows.tolist() == order.tolist()
        assert found.scores.tobytes() == plain[order].tobytes()


@given(st.integers(0, 2**32), st.sampled_from(MADE), st.integers(1, 400), st.sampled_from([1, 8, 47]))
def test_no_score_exceeds_its_bound(seed: int, made: object, n: int, width: int) -> None:
    """Also for queries and rows that are unit vectors only to 1e-3."""
    rng = np.random.default_rng(seed)
    gallery = made(rng, n) * np.float32(rng.uniform(0.9992, 1.0008))
    codes = compress(gallery, np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:width])
    query = (made(rng, 1)[0] * np.float32(1.0009)).astype(np.float32)
    leading, rest = codes.split(query)
    ceiling = scores(leading, codes.leading) + codes.rest * np.float32(rest)
    assert (scores(query, gallery) <= ceiling + np.float32(slack(DIM, width))).all()


@pytest.mark.parametrize(("made", "certified"), [(crowded, True), (isotropic, False), (equal, False)])
def test_it_says_certified_only_where_bounds_left_rows_out(made: object, certified: bool) -> None:
    rng = np.random.default_rng(0)
    gallery = made(rng, 4000)
    codes = compress(gallery, axes(gallery)[:8])
    assert best(gallery[7], gallery, 10, None, codes).certified is certified
    assert not best(gallery[7], gallery, 10).certified


def test_codes_are_chosen_where_they_pay() -> None:
    rng = np.random.default_rng(1)
    wide = np.zeros((3000, 256), np.float32)
    wide[:, :DIM] = crowded(rng, 3000)
    wide[5] = np.nan
    chosen = choose(wide, 10)
    assert chosen is not None
    assert chosen.shape == (32, 256)
    assert np.allclose(chosen @ chosen.T, np.eye(32), atol=1e-12)
    assert choose(_unit(rng.normal(size=(3000, 256))), 10) is None
    assert choose(wide[:50], 10) is None


@given(st.integers(0, 2**32), st.integers(1, 5000), st.floats(0, 1))
def test_gathered_scores_are_the_scores(seed: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    gallery, query = isotropic(rng, n), isotropic(rng, 1)[0]
    rows = np.flatnonzero(rng.random(n) < share)
    assert scores_at(query, gallery, rows).tobytes() == scores(query, gallery)[rows].tobytes()


@given(st.integers(0, 2**32), st.sampled_from(MADE), st.integers(1, 600), st.integers(1, 20), st.booleans())
def test_a_batch_without_codes_gives_the_same_too(seed: int, made: object, n: int, k: int, missing: bool) -> None:
    rng = np.random.default_rng(seed)
    gallery = made(rng, n)
    if missing:
        gallery[rng.random(n) < 0.2] = np.nan
    allowed = ~np.isnan(gallery[:, 0])
    queries = isotropic(rng, 5)
    rows = products(queries, gallery, None)
    for query, row in zip(queries, rows, strict=True):
        alone = best(query, gallery, k, allowed)
        shared = best(query, gallery, k, allowed, None, row)
        assert (alone.rows.tolist(), alone.scores.tobytes()) == (shared.rows.tolist(), shared.scores.tobytes())


def test_a_bound_that_is_too_low_would_be_seen() -> None:
    """The property above can fail: with rests of zero the scan loses rows."""
    rng = np.random.default_rng(2)
    gallery = crowded(rng, 4000)
    codes = compress(gallery, axes(gallery)[:3])
    lying = Codes(codes.axes, codes.leading, np.zeros_like(codes.rest))
    lost = 0
    for query in gallery[:20]:
        lost += best(query, gallery, 10, None, lying).rows.tolist() != best(query, gallery, 10).rows.tolist()
    assert lost > 0


def test_codes_are_chosen_for_a_pool_larger_than_the_rows_that_are_there() -> None:
    rows = np.random.default_rng(0).normal(size=(97, 16)).astype(np.float32)
    gallery = np.full((5_000, 16), np.nan, np.float32)
    gallery[:97] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for pool in (96, 97, 100, 10_000):
        found = choose(gallery, pool)
        assert found is None or found.shape[1] == 16
