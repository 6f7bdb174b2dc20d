"""Compressed frames of DICOM to stored pixels. A frame's own header is checked before its decoder sees it.

Native decoders allocate what a frame's header declares, whatever the DICOM header around it says; each
one writes into an array that was made here and cannot grow.
"""

import struct
from collections.abc import Callable

import imagecodecs
import numpy as np
from pydicom import uid

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import jpeg, jpeg2000

_Decoder = Callable[[bytes, int, int, np.dtype], tuple[np.ndarray, int]]
"""(frame, rows, cols, stored type) -> the pixels as coded, and their precision in bits."""

_RLE_HEADER = struct.Struct("<16I")
_RLE_SLACK = 128
"""Bytes that a segment may have beyond its pixels: some writers fill it up."""


def is_compressed(syntax: str) -> bool:
    """Return whether this module decodes a transfer syntax."""
    return syntax in _DECODERS


def decode_frame(frame: bytes, syntax: str, rows: int, cols: int, stored: np.dtype, bits: int) -> np.ndarray:
    """Return the pixels of one compressed grey frame.

    Args:
        frame: the whole frame, its fragments joined.
        syntax: a transfer syntax for which `is_compressed` holds.
        rows, cols: the size that the DICOM header declares, already within limits.
        stored: int8, uint8, int16 or uint16, what the DICOM header declares.
        bits: bits stored. Where a lossy frame is deeper, what overshoots becomes black or white: without
            its high bits white would be black.

    Returns:
        (rows, cols) of `stored`. A signed image's sign bit is the highest bit of the stream's precision.

    Raises:
        Reject: corrupt_image where the frame is cut, of another kind, size or depth than the header
            around it says; unsupported_encoding where its own header is out of bounds.
    """
    try:
        coded, precision = _DECODERS[syntax](frame, rows, cols, stored)
    except Reject:
        raise
    except Exception as e:
        raise Reject(ErrorCode.CORRUPT_IMAGE, f"the frame's pixels cannot be decoded ({type(e).__name__})") from e
    pixels = coded.astype(f"{coded.dtype.kind}{stored.itemsize}", copy=False).view(stored)
    unused = 8 * stored.itemsize - precision
    if stored.kind == "i" and unused:
        pixels <<= unused
        pixels >>= unused
    if precision > bits and syntax in _LOSSY and coded.dtype.kind == stored.kind:
        low = -(1 << (bits - 1)) if stored.kind == "i" else 0
        np.clip(pixels, low, low + (1 << bits) - 1, out=pixels)
    return pixels


def _check(declared: tuple[int, int, int, int], rows: int, cols: int, stored: np.dtype) -> None:
    """Reject a frame whose (rows, cols, channels, bits) are not those of the DICOM header."""
    if declared[:3] != (rows, cols, 1):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the compressed frame's size is not the header's")
    if not 2 <= declared[3] <= 8 * stored.itemsize:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the compressed frame is deeper than the header says")


def _jpeg(kinds: set[int], deepest: int = 16) -> _Decoder:
    def decode(frame: bytes, rows: int, cols: int, stored: np.dtype) -> tuple[np.ndarray, int]:
        found = jpeg.read_jpeg(frame)
        if found.kind not in kinds or found.bits > deepest:
            raise Reject(ErrorCode.CORRUPT_IMAGE, "the frame is not of the kind that its transfer syntax names")
        _check((found.rows, found.cols, found.channels, found.bits), rows, cols, stored)
        out = np.empty((rows, cols), np.uint8 if found.bits <= 8 else np.uint16)
        read = imagecodecs.jpegls_decode if found.kind == jpeg.JPEG_LS else imagecodecs.jpeg8_decode
        read(frame, out=out)
        return out, found.bits

    return decode


def _jpeg2000(frame: bytes, rows: int, cols: int, stored: np.dtype) -> tuple[np.ndarray, int]:
    stream = jpeg2000.codestream(frame)
    found = jpeg2000.read_size(stream)
    _check((found.rows, found.cols, found.channels, found.bits), rows, cols, stored)
    jpeg2000.check_parts(stream, found)
    out = np.empty((rows, cols), f"{'i' if found.signed else 'u'}{1 if found.bits <= 8 else 2}")
    imagecodecs.jpeg2k_decode(stream, numthreads=1, out=out)  # a worker or replica owns one core
    return out, found.bits


def _rle(frame: bytes, rows: int, cols: int, stored: np.dtype) -> tuple[np.ndarray, int]:
    """Decode one PackBits segment for each byte of a pixel, the most significant first (PS3.5 Annex G)."""
    segments, *offsets = _RLE_HEADER.unpack_from(frame)
    starts = offsets[: stored.itemsize]
    if segments != stored.itemsize or starts != sorted(starts) or not _RLE_HEADER.size <= starts[0]:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the RLE frame's header is not valid")
    out = np.empty((rows * cols, stored.itemsize), np.uint8)
    plane = bytearray(rows * cols + _RLE_SLACK)
    for place, (start, end) in enumerate(zip(starts, [*starts[1:], len(frame)], strict=True), 1):
        decoded = imagecodecs.packbits_decode(frame[start:end], out=plane)
        if len(decoded) < rows * cols:
            raise Reject(ErrorCode.CORRUPT_IMAGE, "the RLE frame has too few pixels")
        out[:, -place] = np.frombuffer(plane, np.uint8, rows * cols)
    return out.view(f"<u{stored.itemsize}").reshape(rows, cols), 8 * stored.itemsize


_DECODERS: dict[str, _Decoder] = {
    uid.JPEGBaseline8Bit: _jpeg({jpeg.BASELINE, jpeg.EXTENDED}, 8),
    uid.JPEGExtended12Bit: _jpeg({jpeg.BASELINE, jpeg.EXTENDED}, 12),
    uid.JPEGLossless: _jpeg({jpeg.LOSSLESS}),
    uid.JPEGLosslessSV1: _jpeg({jpeg.LOSSLESS}),
    uid.JPEGLSLossless: _jpeg({jpeg.JPEG_LS}),
    uid.JPEGLSNearLossless: _jpeg({jpeg.JPEG_LS}),
    uid.JPEG2000Lossless: _jpeg2000,
    uid.JPEG2000: _jpeg2000,
    uid.HTJ2KLossless: _jpeg2000,
    uid.HTJ2KLosslessRPCL: _jpeg2000,
    uid.HTJ2K: _jpeg2000,
    uid.RLELossless: _rle,
}
_LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}
