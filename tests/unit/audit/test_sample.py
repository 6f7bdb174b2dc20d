"""The sample: its size, its strata, its seed."""

from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.audit.sample import draw

MEMBERS = st.dictionaries(
    st.tuples(st.sampled_from(["ok", "repaired"]), st.sampled_from(["none", "present"]), st.booleans()),
    st.integers(1, 60),
    min_size=1,
).map(lambda sizes: {s: [f"{s}{i}" for i in range(n)] for s, n in sizes.items()})


@given(MEMBERS, st.integers(1, 100), st.integers(0, 9))
def test_every_stratum_has_its_share(members: dict[tuple[str, str, bool], list[str]], size: int, seed: int) -> None:
    total = sum(map(len, members.values()))
    chosen = draw(members, size, seed)
    assert len(chosen) == len(set(chosen)) == min(size, total)
    assert chosen == draw(dict(reversed(members.items())), size, seed)
    for own in members.values():
        count = len(set(own) & set(chosen))
        assert count >= (1 if size >= len(members) else 0)
        assert abs(count - min(size, total) * len(own) / total) <= len(members)


def test_another_seed_draws_others() -> None:
    members = {("ok", "none", True): [str(i) for i in range(500)]}
    assert set(draw(members, 50, 0)) != set(draw(members, 50, 1))
    more = {("ok", "none", True): [str(i) for i in range(505)]}
    assert len(set(draw(members, 50, 0)) & set(draw(more, 50, 0))) >= 45
