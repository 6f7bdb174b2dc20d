"""JPEG headers of every kind: size, depth, kind; what hides its size or its end is refused."""

import struct

import pytest
from pydicom import uid

from tests.unit.imaging import samples
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import jpeg

EIGHT, TWELVE = samples.pixels(8), samples.pixels(12)
LS = samples.frame(TWELVE, uid.JPEGLSLossless)
LOSSLESS = samples.frame(TWELVE, uid.JPEGLossless)


@pytest.mark.parametrize(
    ("stream", "kind", "bits"),
    [
        (samples.jpeg(EIGHT), jpeg.BASELINE, 8),
        (samples.progressive_jpeg(EIGHT), jpeg.PROGRESSIVE, 8),
        (samples.frame(TWELVE, uid.JPEGExtended12Bit), jpeg.EXTENDED, 12),
        (LOSSLESS, jpeg.LOSSLESS, 12),
        (LS, jpeg.JPEG_LS, 16),
    ],
)
def test_header(stream: bytes, kind: int, bits: int) -> None:
    assert jpeg.read_jpeg(stream) == jpeg.JpegHeader(kind, 48, 40, bits, 1)
    assert jpeg.read_jpeg(stream + b"\0") == jpeg.JpegHeader(kind, 48, 40, bits, 1)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def _behind_frame_header(stream: bytes, sof: int, extra: bytes) -> bytes:
    at = stream.index(bytes((0xFF, sof)))
    end = at + 2 + struct.unpack_from(">H", stream, at + 2)[0]
    return stream[:end] + extra + stream[end:]


SCAN = _segment(0xDA, b"\1\1\0\1\0\0")


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"", ErrorCode.CORRUPT_IMAGE),
        (b"\xff\xd8", ErrorCode.CORRUPT_IMAGE),
        (b"\xff\xd8\xff\xda\0\2\xff\xd9", ErrorCode.CORRUPT_IMAGE),  # no frame header
        (samples.resized(LOSSLESS, 0, 40), ErrorCode.CORRUPT_IMAGE),  # the number of lines comes later, or never
        (samples.resized(LS, 0, 0), ErrorCode.CORRUPT_IMAGE),
        (_behind_frame_header(LOSSLESS, 0xC3, _segment(0xC3, bytes(9))), ErrorCode.CORRUPT_IMAGE),
        (_behind_frame_header(LS, 0xF7, b"\xff\xff\x01\xff\xd0\0"), ErrorCode.CORRUPT_IMAGE),
        (LOSSLESS[: LOSSLESS.index(b"\xff\xda")], ErrorCode.CORRUPT_IMAGE),
        (LOSSLESS[:-2], ErrorCode.CORRUPT_IMAGE),
        (_behind_frame_header(LS, 0xF7, _segment(0xF8, b"\4\2" + bytes(8))), ErrorCode.UNSUPPORTED_ENCODING),
        (LOSSLESS[:-2] + SCAN * 200 + b"\xff\xd9", ErrorCode.UNSUPPORTED_ENCODING),
    ],
)
def test_a_header_that_is_not_valid(stream: bytes, code: ErrorCode) -> None:
    with pytest.raises(Reject) as caught:
        jpeg.read_jpeg(stream)
    assert caught.value.code == code


def test_preset_coding_parameters_pass() -> None:
    stream = _behind_frame_header(LS, 0xF7, _segment(0xF8, b"\1" + struct.pack(">5H", 65_535, 18, 67, 276, 64)))
    assert jpeg.read_jpeg(stream).kind == jpeg.JPEG_LS
