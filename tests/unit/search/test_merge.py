"""However a gallery is cut into shards and merged, the hits are those of one search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.search import Mode, Part, gather, rank


def _world(seed: int, n: int) -> Part:
    rng = np.random.default_rng(seed)
    ids = np.array([b"%08x" % i for i in rng.permutation(10 * n)[:n]])
    few = rng.integers(0, 4, (2, n)).astype(np.float32) / 4  # many ties
    few[:, rng.random(n) < 0.2] = np.nan
    few[0] = np.nan_to_num(few[0], nan=0.5)
    patients = np.array([b"p%d" % p for p in rng.integers(0, n // 2 + 1, n)])
    return Part(ids, patients, few[0], few[1], np.stack([np.zeros(n, int), np.arange(n)], 1))


def _plain(world: Part, mode: Mode, pool: int, k: int, collapse: bool) -> list[bytes]:
    """Sort and filter one exam at a time."""
    rows = range(len(world.ids))
    seen, local = world.global_scores, world.region_scores
    by_wrist = sorted(rows, key=lambda i: (-seen[i], world.ids[i]))
    with_bone = lambda found: sorted(  # noqa: E731
        (i for i in found if not np.isnan(local[i])), key=lambda i: (-local[i], world.ids[i])
    )
    if mode is Mode.REGION:
        order = with_bone(rows)
    elif mode is Mode.GLOBAL:
        order = by_wrist
    else:
        order = with_bone(by_wrist[:pool]) + [i for i in by_wrist[:pool] if np.isnan(local[i])]
    out: list[int] = []
    for i in order:
        if not collapse or all(world.patients[i] != world.patients[j] for j in out):
            out.append(i)
    return [world.ids[i] for i in out[:k]]


@given(
    st.integers(0, 2**32),
    st.integers(1, 60),
    st.sampled_from(list(Mode)),
    st.integers(1, 40),
    st.integers(1, 20),
    st.booleans(),
    st.integers(1, 6),
    st.booleans(),
)
def test_shards_merged_in_any_tree_give_one_search(
    seed: int, n: int, mode: Mode, pool: int, k: int, collapse: bool, shards: int, tree: bool
) -> None:
    world = _world(seed, n)
    wanted = pool if mode is Mode.TWO_STAGE else k
    early = collapse and mode is not Mode.TWO_STAGE
    rng = np.random.default_rng(seed)
    of = rng.integers(0, shards, n)
    parts = [gather([world.take(np.flatnonzero(of == s))], mode, wanted, early) for s in range(shards)]
    rng.shuffle(parts)
    if tree and shards > 2:
        parts = [gather(parts[:2], mode, wanted, early), gather(parts[2:], mode, wanted, early)]
    merged = gather(parts, mode, wanted, early)
    hits = rank(merged, mode, k, collapse)
    assert merged.ids[hits.at].tolist() == _plain(world, mode, pool, k, collapse)
    whole = gather([world], mode, wanted, early)
    alone = rank(whole, mode, k, collapse)
    assert hits.stage1_ranks.tolist() == alone.stage1_ranks.tolist()
    for name in ("ids", "global_scores", "region_scores", "places"):
        assert getattr(merged.take(hits.at), name).tobytes() == getattr(whole.take(alone.at), name).tobytes()


def test_a_shard_without_candidates_changes_nothing() -> None:
    world = _world(0, 20)
    empty = world.take(np.arange(0))
    assert gather([world, empty], Mode.GLOBAL, 5).ids.tolist() == gather([world], Mode.GLOBAL, 5).ids.tolist()
    assert len(gather([empty, empty], Mode.REGION, 5).ids) == 0
