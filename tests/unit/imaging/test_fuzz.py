"""Whatever the bytes, decoding gives a radiograph or a Reject, and never allocates beyond the limit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import fuzz_decode
from tests.fuzz.seeds import COLS, ROWS, good_files
from wristmir_ray.errors import Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode

CONFIG = DecodeConfig(max_pixels=2**20)
SEEDS = good_files()


def test_seeds_are_good() -> None:
    for seed in SEEDS:
        assert decode(seed, CONFIG).gray.shape == (ROWS, COLS)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    head = st.integers(0, min(len(data) - 1, 700))
    places = st.lists(st.tuples(head | st.integers(0, len(data) - 1), st.integers(0, 255)), min_size=0, max_size=6)
    for at, value in draw(places):
        data[at] = value
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(data)))
        data = data[:cut] + draw(st.binary(max_size=8)) + data[cut + draw(st.integers(0, 40)) :]
    if draw(st.integers(0, 5)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return bytes(data)


def _check(data: bytes) -> None:
    try:
        image = decode(data, CONFIG)
    except Reject:
        return
    assert image.gray.dtype == np.uint8
    assert image.gray.shape == (image.stored_rows, image.stored_cols)
    assert image.gray.size <= CONFIG.max_pixels
    assert image.gray.min() < image.gray.max()


@given(_mutated())
@settings(max_examples=400, suppress_health_check=list(HealthCheck))
def test_mutated_files(data: bytes) -> None:
    _check(data)


@given(
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", bytes(128) + b"DICM", b"\x08\x00\x05\x00"]),
    st.binary(max_size=300),
)
@settings(max_examples=200)
def test_any_bytes(magic: bytes, rest: bytes) -> None:
    _check(magic + rest)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [101, 102])
def test_the_fuzzer_finds_nothing_in_a_minute(seed: int, tmp_path: Path) -> None:
    """The program for hours is tests/fuzz/fuzz_decode.py."""
    campaign = fuzz_decode.fuzz(60, seed, tmp_path)
    assert campaign.executions > 100
    assert campaign.outcomes["good"] > 0
    assert not campaign.findings
