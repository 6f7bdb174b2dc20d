"""What a file may cost: bombs are refused unread, the largest image fits into 1 GiB and 5 s.

Each file is decoded in a process of its own whose address space cannot grow further; what once crashed,
hung or swelled the decoder is in tests/data/decode_corpus.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from tests.conftest import REPO
from tests.fuzz.child import Child
from tests.unit.imaging import samples

CORPUS = REPO / "tests/data/decode_corpus"
COMPRESSED = samples.LOSSLESS + samples.LOSSY
TWELVE = samples.pixels(12)


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    process = Child()
    yield process
    process.close()


# ---------------------------------------------------------------- refused


def _bits(syntax: str) -> int:
    return 8 if syntax == uid.JPEGBaseline8Bit else 12


def _frame_bomb(syntax: str) -> bytes:
    """A small header around a frame that declares 65,000 or 100,000 pixels a side."""
    bits = _bits(syntax)
    stored = samples.pixels(bits)
    side = 100_000 if syntax in uid.JPEG2000TransferSyntaxes else 65_000
    packed = samples.frame(stored, syntax, bits)
    packed = packed + b"\x81\0" * 10**6 if syntax == uid.RLELossless else samples.resized(packed, side, side)
    return samples.write(samples.dataset(stored, bits), syntax, packed)


def _header_bomb(syntax: str) -> bytes:
    bits = _bits(syntax)
    return samples.compressed(samples.pixels(bits), syntax, bits, Rows=65_535, Columns=65_535)


def _inflating(chunk: bytes) -> bytes:
    """A good PNG with a chunk of text or colours that inflates to 200 MB."""
    data = samples.png(samples.pixels(16))
    return (
        data[:33]
        + samples.chunk(chunk, b"a\0" + b"\0" * (chunk != b"tEXt") + zlib.compress(bytes(200 * 10**6), 1))
        + data[33:]
    )


def _deflated(size: int) -> bytes:
    data = samples.write(samples.dataset(TWELVE), uid.DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    return data[:start] + zlib.compress(bytes(size), 1)[2:-4]


def _finely_cut() -> bytes:
    """The largest image in JPEG 2000, in 4 million code-blocks of 4 x 4."""
    out = BytesIO()
    Image.fromarray(TWELVE).save(out, "JPEG2000", no_jp2=True)
    packed = bytearray(samples.resized(out.getvalue(), 8192, 8192))
    cod = packed.index(b"\xff\x52")
    packed[cod + 10 : cod + 12] = b"\0\0"
    return samples.write(samples.dataset(TWELVE, Rows=8192, Columns=8192), uid.JPEG2000Lossless, bytes(packed))


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: samples.png_header(100_000, 100_000),
    "jpeg": lambda: samples.jpeg_header(65_000, 65_000),
    "deflated header": lambda: samples.write(
        samples.dataset(TWELVE, Rows=65_535, Columns=65_535), uid.DeflatedExplicitVRLittleEndian
    ),
    "deflated 200 MB": lambda: _deflated(200 * 10**6),
    "png text": lambda: _inflating(b"zTXt"),
    "png profile": lambda: _inflating(b"iCCP"),
    "jpeg 2000 finely cut": _finely_cut,
    **{f"header {s.keyword}": lambda s=s: _header_bomb(s) for s in COMPRESSED},
    **{f"frame {s.keyword}": lambda s=s: _frame_bomb(s) for s in COMPRESSED},
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs(name: str, child: Child) -> None:
    outcome = child.decode(BOMBS[name]())
    assert outcome.kind == ("good" if name.startswith("png ") else "reject"), outcome.detail
    assert outcome.cpu_s < 2


@pytest.mark.parametrize("file", sorted(CORPUS.glob("*.bin")), ids=lambda f: f.stem)
def test_corpus(file: Path, child: Child) -> None:
    outcome = child.decode(file.read_bytes())
    assert not outcome.is_finding, outcome.detail


def test_the_corpus_is_small() -> None:
    assert sum(f.stat().st_size for f in CORPUS.iterdir()) < 200_000


# ---------------------------------------------------------------- the largest


def _largest(bits: int) -> np.ndarray:
    """8192 x 8192, nearly all black, so that a file of few KiB holds it."""
    out = np.zeros((8192, 8192), np.uint8 if bits == 8 else np.uint16)
    out[4000:4100, 4000:4100] = (1 << bits) - 1
    return out


LARGEST: dict[str, Callable[[], bytes]] = {
    "png": lambda: samples.png(_largest(16)),
    "png in colour": lambda: samples.png(np.dstack([_largest(8)] * 3)),
    "jpeg in colour, progressive": lambda: samples.progressive_jpeg(np.dstack([_largest(8)] * 3)),
    "plain": lambda: samples.write(samples.dataset(_largest(12))),
    "signed, with padding": lambda: samples.write(
        samples.dataset(_largest(12).view(np.int16) - 2048, PixelPaddingValue=-1)
    ),
    "deflated": lambda: samples.write(samples.dataset(_largest(12)), uid.DeflatedExplicitVRLittleEndian),
    **{s.keyword: lambda s=s: samples.compressed(_largest(_bits(s)), s, _bits(s)) for s in COMPRESSED},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(LARGEST))
def test_the_largest_image(name: str) -> None:
    child = Child()
    outcome = child.decode(LARGEST[name]())
    child.close()
    assert outcome.kind == "good", outcome.detail
    assert outcome.cpu_s < 5
    assert outcome.peak_mib < 1024
