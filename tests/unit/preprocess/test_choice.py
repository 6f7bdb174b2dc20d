"""Of several candidates the anatomically plausible best one is the bone."""

from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.models.detector import Detection
from wristmir_ray.preprocess.choice import choose_bones, grow, touches
from wristmir_ray.preprocess.config import RegionConfig

R, U, S = Region.DISTAL_RADIUS, Region.DISTAL_ULNA, Region.ULNAR_STYLOID
CONFIG = RegionConfig()
RADIUS, ULNA = Box(0, 0, 40, 100), Box(60, 0, 80, 100)
TIP = Box(75, 5, 90, 25)
FAR = Box(0, 300, 15, 320)


def chosen(*found: tuple[Region, Box, float]) -> dict[Region, Box]:
    return {r: d.box for r, d in choose_bones([Detection(*f) for f in found], CONFIG).items()}


def test_the_best_score_of_each_class_is_taken() -> None:
    near = RADIUS.shift(3, 0)
    assert chosen((R, near, 0.5), (R, RADIUS, 0.9), (U, ULNA, 0.8), (S, TIP, 0.7)) == {R: RADIUS, U: ULNA, S: TIP}


def test_a_styloid_far_from_the_ulna_gives_way_to_the_next_candidate() -> None:
    assert chosen((U, ULNA, 0.9), (S, FAR, 0.95), (S, TIP, 0.3)) == {U: ULNA, S: TIP}


def test_a_styloid_with_no_plausible_candidate_is_not_found() -> None:
    assert chosen((U, ULNA, 0.9), (S, FAR, 0.95)) == {U: ULNA}


def test_a_styloid_that_adjoins_the_ulna_is_plausible() -> None:
    beside = Box(80, 40, 90, 50)
    within_reach = Box(84, 40, 90, 50)  # 4 px beside an ulna 20 px wide
    out_of_reach = Box(86, 40, 96, 50)
    assert chosen((U, ULNA, 0.9), (S, beside, 0.5))[S] == beside
    assert chosen((U, ULNA, 0.9), (S, within_reach, 0.5))[S] == within_reach
    assert S not in chosen((U, ULNA, 0.9), (S, out_of_reach, 0.5))


def test_a_styloid_lies_on_the_ulnar_side() -> None:
    inner, middle = Box(55, 5, 65, 25), Box(63, 5, 75, 25)  # the ulna's middle is at x = 70, it is 20 px wide
    assert chosen((R, RADIUS, 0.9), (U, ULNA, 0.9), (S, inner, 0.9), (S, TIP, 0.3))[S] == TIP
    assert S not in chosen((R, RADIUS, 0.9), (U, ULNA, 0.9), (S, inner, 0.9))
    assert chosen((R, RADIUS, 0.9), (U, ULNA, 0.9), (S, middle, 0.9))[S] == middle, "inwards by a twentieth"


def test_without_a_radius_the_side_tells_where_the_ulnar_side_is() -> None:
    inner = Box(55, 5, 65, 25)
    found = [Detection(U, ULNA, 0.9), Detection(S, inner, 0.9), Detection(S, TIP, 0.3)]
    taken = {side: choose_bones(found, CONFIG, side)[S].box for side in (Side.LEFT, Side.RIGHT, None)}
    assert taken == {Side.LEFT: inner, Side.RIGHT: TIP, None: inner}


def test_without_an_ulna_the_best_styloid_stands() -> None:
    assert chosen((S, FAR, 0.95), (S, TIP, 0.3)) == {S: FAR}


def test_one_bone_is_not_radius_and_ulna_at_once() -> None:
    twice = RADIUS.shift(2, 0)
    assert chosen((R, RADIUS, 0.9), (U, twice, 0.8), (U, ULNA, 0.4)) == {R: RADIUS, U: ULNA}
    assert chosen((R, twice, 0.6), (U, ULNA, 0.9), (R, ULNA, 0.95)) == {R: ULNA}
    assert chosen((R, RADIUS, 0.9), (U, twice, 0.8)) == {R: RADIUS}


boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h),
    *(st.floats(0, 100), st.floats(0, 100), st.floats(1, 50), st.floats(1, 50)),
)


@given(st.lists(st.builds(Detection, st.sampled_from(BONES), boxes, st.floats(0, 1)), max_size=12), st.randoms())
def test_a_choice_is_a_candidate_and_does_not_hang_on_order(found: list[Detection], random: object) -> None:
    first = choose_bones(found, CONFIG)
    for region, d in first.items():
        assert d in found
        assert d.region == region
    if len({d.score for d in found}) == len(found):
        shuffled = list(found)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        assert choose_bones(shuffled, CONFIG) == first


def test_touching_and_growing() -> None:
    assert touches(Box(0, 0, 1, 1), Box(1, 1, 2, 2))
    assert not touches(Box(0, 0, 1, 1), Box(1.1, 0, 2, 1))
    assert not touches(Box(0, 0, 1, 1), Box(0, 1.1, 1, 2))
    assert grow(Box(0, 0, 10, 20), 0.5) == Box(-5, -10, 15, 30)
