"""Whatever the bytes, decoding gives a radiograph or a Reject, and never allocates beyond the limit."""

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid

from tests.unit.imaging import samples
from wristmir_ray.errors import Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode

CONFIG = DecodeConfig(max_pixels=2**20, min_side_px=8)


def _seeds() -> list[bytes]:
    eight, twelve, sixteen = (samples.pixels(b, 24, 20) for b in (8, 12, 16))
    rle = samples.dataset(twelve)
    rle.file_meta = pydicom.dataset.FileMetaDataset()
    rle.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    rle.compress(uid.RLELossless)
    return [
        samples.png(sixteen),
        samples.png(np.dstack([eight] * 3)),
        samples.jpeg(eight),
        samples.write(samples.dataset(twelve, WindowCenter=2000, WindowWidth=3000)),
        samples.write(samples.dataset(twelve), uid.ImplicitVRLittleEndian)[132:],
        samples.write(samples.dataset(twelve), uid.DeflatedExplicitVRLittleEndian),
        samples.write(rle, uid.RLELossless),
        samples.write(samples.dataset(sixteen, 16), uid.JPEG2000Lossless, samples.j2k(sixteen)),
        samples.write(samples.dataset(eight, 8), uid.JPEGBaseline8Bit, samples.jpeg(eight)),
    ]


SEEDS = _seeds()


def test_seeds_are_good() -> None:
    for seed in SEEDS:
        assert decode(seed, CONFIG).gray.shape == (24, 20)


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
@given(_mutated())
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
def test_mutated_files_at_length(data: bytes) -> None:
    _check(data)
