"""JPEG 2000 headers: what asks for more parts than any encoder writes never reaches the decoder."""

import struct
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from tests.unit.imaging import samples
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import jpeg2000
from wristmir_ray.imaging.frames import decode_frame

STORED = samples.pixels(12)
STREAM = samples.frame(STORED, uid.JPEG2000Lossless)


def _decode(stream: bytes) -> np.ndarray:
    return decode_frame(stream, uid.JPEG2000Lossless, *STORED.shape, STORED.dtype, 12)


def _code(stream: bytes) -> ErrorCode:
    with pytest.raises(Reject) as caught:
        _decode(stream)
    return caught.value.code


def _patched(marker: int, offset: int, value: bytes) -> bytes:
    """STREAM with bytes of one segment's content replaced."""
    at = STREAM.index(bytes((0xFF, marker))) + 4 + offset
    return STREAM[:at] + value + STREAM[at + len(value) :]


def _coding(cod: bytes) -> bytes:
    at = STREAM.index(b"\xff\x52")
    old = struct.unpack_from(">H", STREAM, at + 2)[0]
    return STREAM[: at + 2] + struct.pack(">H", len(cod) + 2) + cod + STREAM[at + 2 + old :]


def _inserted(before: bytes, marker: int, body: bytes, offset: int = 0) -> bytes:
    at = STREAM.index(before) + offset
    return STREAM[:at] + bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body + STREAM[at:]


def test_size() -> None:
    size = jpeg2000.read_size(STREAM)
    assert (size.rows, size.cols, size.bits, size.signed, size.channels, size.tiles) == (48, 40, 12, False, 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"precinct_size": (64, 64), "codeblock_size": (32, 32), "progression": "RPCL"},
        {"quality_layers": (40, 20, 1), "quality_mode": "rates", "progression": "PCRL"},
    ],
)
def test_what_encoders_cut(options: dict[str, Any]) -> None:
    stored, out = samples.pixels(16, 300, 260), BytesIO()
    Image.fromarray(stored).save(out, "JPEG2000", no_jp2=True, irreversible=False, **options)
    assert (decode_frame(out.getvalue(), uid.JPEG2000Lossless, 300, 260, stored.dtype, 16) == stored).all()


@pytest.mark.parametrize("tile", [(32, 32), (128, 64)])
def test_tiles(tile: tuple[int, int]) -> None:
    stored = samples.pixels(16, 300, 260)
    stream = bytes(imagecodecs.htj2k_encode(stored, tile=tile))
    assert jpeg2000.read_size(stream).tiles > 9
    assert (decode_frame(stream, uid.HTJ2KLossless, 300, 260, stored.dtype, 16) == stored).all()


def test_a_comment_is_no_obstacle() -> None:
    assert (_decode(_inserted(b"\xff\x90", 0x64, b"\0\1\xff\x51\xff\x52")) == STORED).all()


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (STREAM[2:], ErrorCode.CORRUPT_IMAGE),
        (STREAM[:44], ErrorCode.CORRUPT_IMAGE),
        (STREAM[:-2], ErrorCode.CORRUPT_IMAGE),
        (STREAM[:60], ErrorCode.CORRUPT_IMAGE),
        (_patched(0x51, 2, struct.pack(">I", 0)), ErrorCode.CORRUPT_IMAGE),
        (_patched(0x51, 10, struct.pack(">I", 1)), ErrorCode.CORRUPT_IMAGE),  # the image begins a column later
        (_patched(0x51, 18, struct.pack(">I", 0)), ErrorCode.CORRUPT_IMAGE),  # tiles without columns
        (_patched(0x51, 34, b"\x40\0"), ErrorCode.CORRUPT_IMAGE),  # 16,384 components
        (_patched(0x51, 36, bytes((37,))), ErrorCode.CORRUPT_IMAGE),  # 38 bits
        (_patched(0x51, 37, b"\2"), ErrorCode.CORRUPT_IMAGE),  # every second column
        (_patched(0x52, 5, bytes((33,))), ErrorCode.CORRUPT_IMAGE),  # 33 resolutions
        (_coding(b"\0\0\0\1\0"), ErrorCode.CORRUPT_IMAGE),
        (_inserted(b"\xff\x90", 0x52, b"\0\0\0\1\0\5\4\4\0\1"), ErrorCode.CORRUPT_IMAGE),
        (_inserted(b"\xff\x90", 0x51, STREAM[6:45]), ErrorCode.CORRUPT_IMAGE),
        (_inserted(b"\xff\x90", 0x53, b"\0\0\5\4\4\0\1"), ErrorCode.UNSUPPORTED_ENCODING),
        (_inserted(b"\xff\x90", 0x60, b"\0" * 9), ErrorCode.UNSUPPORTED_ENCODING),
        (_inserted(b"\xff\x90", 0x52, b"\0\0\0\1\0\5\0\0\0\1", 12), ErrorCode.UNSUPPORTED_ENCODING),
    ],
)
def test_a_header_that_is_not_valid(stream: bytes, code: ErrorCode) -> None:
    assert _code(stream) == code


LARGE = jpeg2000.Size(8192, 8192, 16, False, 1, 8192, 8192, 1)


@pytest.mark.parametrize(
    ("size", "cod"),
    [
        (LARGE, "00 00 0001 00 05 00 00 00 01"),  # 4 million code-blocks of 4 x 4
        (LARGE, "01 00 0001 00 05 04 04 00 01" + "00" * 6),  # 67 million precincts of one pixel
        (LARGE, "00 00 ffff 00 05 04 04 00 01"),  # 65,535 layers
        (jpeg2000.Size(8192, 8192, 16, False, 1, 32, 32, 65_536), "00 00 0001 00 05 04 04 00 01"),
    ],
)
def test_too_many_parts(size: jpeg2000.Size, cod: str) -> None:
    with pytest.raises(Reject) as caught:
        jpeg2000._check_coding(bytes.fromhex(cod), size)
    assert caught.value.code == ErrorCode.UNSUPPORTED_ENCODING


@pytest.mark.parametrize(
    "cod",
    [
        "00 02 0001 00 05 04 04 00 01",  # 64 x 64, as OpenJPEG writes
        "00 02 000c 00 06 03 03 00 01",  # 32 x 32 in 12 layers
        "01 02 0001 00 05 03 03 00 01" + "77" + "88" * 5,  # precincts of 128 and 256
    ],
)
def test_the_largest_image_as_encoders_write_it(cod: str) -> None:
    jpeg2000._check_coding(bytes.fromhex(cod), LARGE)
