"""JPEG, lossless JPEG and JPEG-LS streams: what their headers declare, read before any decoder runs."""

from collections.abc import Iterator
from dataclasses import dataclass

from wristmir_ray.errors import ErrorCode, Reject

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC2, 0xC3, 0xF7
"""Frame markers (SOF0, SOF1, SOF2, SOF3, SOF55): they tell how the samples are coded."""

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD8)})
_SOS, _LSE = 0xDA, 0xF8
_OVERSIZE = 4
_MAX_SCANS = 100
"""Encoders write ten or so. Each scan passes over the whole image, however few bytes it has."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What the one frame header of a stream declares."""

    kind: int
    """The frame marker's second byte."""
    rows: int
    cols: int
    bits: int
    channels: int


def read_jpeg(data: bytes) -> JpegHeader:
    """Return a whole stream's frame header.

    Args:
        data: the stream; what stands behind its end marker is ignored.

    Raises:
        Reject: corrupt_image where a segment, frame header, scan or the end marker is missing;
            unsupported_encoding where the header alone does not give the size, or there are too many scans.
    """
    header = None
    for marker, at, length in _segments(data):
        if marker in _SOF and length >= 8:
            rows, cols = (int.from_bytes(data[i : i + 2], "big") for i in (at + 3, at + 5))
            if header is not None or not rows or not cols:
                raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG's frame header is not valid")
            header = JpegHeader(marker, rows, cols, data[at + 2], data[at + 7])
        if marker == _LSE and length >= 3 and data[at + 2] == _OVERSIZE:
            raise Reject(ErrorCode.UNSUPPORTED_ENCODING, "a JPEG-LS stream that states its size a second time")
        if marker == _SOS and header is not None:
            _check_scans(data, at)
            return header
    raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG ends before its first scan")


def _check_scans(data: bytes, first: int) -> None:
    if data.rfind(_EOI) < first:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG ends before its end marker")
    if data.count(bytes((0xFF, _SOS)), first) >= _MAX_SCANS:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"a JPEG of more than {_MAX_SCANS} scans")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, offset of its length field, length) of the segments before the first scan's samples."""
    if not data.startswith(_SOI):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "no JPEG stream")
    at = len(_SOI)
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG's markers are not in order")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if length < 2 or at + 2 + length > len(data):
                raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG ends inside a segment")
            yield marker, at + 2, length
            at += 2 + length
