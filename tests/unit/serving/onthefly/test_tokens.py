"""Tokens: what goes in comes out, what was changed does not."""

import base64
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.retrieval.pool import Progress
from wristmir_ray.serving import api
from wristmir_ray.serving.asking import Token
from wristmir_ray.serving.onthefly.tokens import Claim, load_secret, seal, unseal

SECRET = b"s" * 32


@pytest.fixture
def s3_place(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/bones"


def claim(pool: int = 3, regions: tuple[Region, ...] = (Region.WRIST, Region.DISTAL_ULNA), dim: int = 4) -> Claim:
    rng = np.random.default_rng(pool)
    progress = Progress(rng.integers(0, 5, pool).astype(np.uint8), rng.normal(size=pool).astype(np.float32))
    vectors = {r: rng.normal(size=dim).astype(np.float32) for r in regions}
    parameters = api.SearchParameters(region=Region.DISTAL_ULNA, k=1, pool=max(pool, 1), age_min=3, deadline_s=2)
    return Claim(
        "run", parameters, progress, None, vectors, {Region.WRIST: api.PixelBox(x0_px=1, y0_px=2, x1_px=3, y1_px=4)}
    )


@settings(deadline=None)
@given(pool=st.integers(0, 50), regions=st.lists(st.sampled_from([Region.WRIST, *BONES]), unique=True, max_size=2))
def test_a_claim_comes_back(pool: int, regions: list[Region]) -> None:
    made = claim(pool, tuple(regions))
    found = unseal(seal(made, SECRET), SECRET)
    assert found is not None
    assert found.parameters == made.parameters.model_copy(update={"deadline_s": None})
    assert (found.index_run, found.exam_id, dict(found.boxes)) == (made.index_run, made.exam_id, dict(made.boxes))
    np.testing.assert_array_equal(found.progress.states, made.progress.states)
    np.testing.assert_array_equal(found.progress.scores, made.progress.scores)
    assert list(found.vectors) == regions
    for region in regions:
        np.testing.assert_array_equal(found.vectors[region], made.vectors[region])


@settings(deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_token_is_none(at: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(seal(claim(), SECRET)))
    raw[at % len(raw)] ^= 1 << bit
    assert unseal(base64.urlsafe_b64encode(bytes(raw)).decode(), SECRET) is None


@pytest.mark.parametrize("text", ["", "x", "é", "AAAA", "A" * 100])
def test_what_is_no_token_is_none(text: str) -> None:
    assert unseal(text, SECRET) is None


def test_another_secrets_token_is_none() -> None:
    assert unseal(seal(claim(), SECRET), b"t" * 32) is None


def test_the_largest_token_is_taken() -> None:
    (bound,) = [m.max_length for m in Token.__metadata__[0].metadata if hasattr(m, "max_length")]
    assert len(seal(claim(pool=10_000, dim=1024), SECRET)) <= bound


def test_all_who_share_a_place_share_its_secret(tmp_path: Path) -> None:
    place = tmp_path / "cache"
    assert load_secret(str(place)) == load_secret(str(place))
    (file,) = place.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_place_a_secret_is_the_processs_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (None, str(tmp_path / "file" / "below")):
        assert len(load_secret(place)) == 32
        assert load_secret(place) != load_secret(place)


def test_a_secret_on_s3(s3_place: str) -> None:
    assert load_secret(s3_place) == load_secret(s3_place)
