"""PNG and JPEG. The container is checked whole before the decoder runs: a cut file is no image.

Native decoders give a half-grey picture for half a file, and allocate what a header asks for.
"""

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import jpeg
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.radiograph import Radiograph
from wristmir_ray.imaging.window import check_size, window_unsigned

cv2.setNumThreads(1)  # a worker or replica owns one core

_PNG = b"\x89PNG\r\n\x1a\n"
_BLOCK_ROWS = 256
_BYTES_A_PIXEL = 4
"""What the largest image may take: OpenCV holds it twice."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What a PNG's header chunk declares."""

    rows: int
    cols: int
    bits: int
    channels: int


def is_png(data: bytes) -> bool:
    """Return whether the data start as a PNG."""
    return data.startswith(_PNG)


def is_jpeg(data: bytes) -> bool:
    """Return whether the data start as a JPEG (but not as JPEG-LS, which is another format)."""
    return data.startswith(b"\xff\xd8\xff") and data[3:4] != b"\xf7"


def decode_png_file(data: bytes, config: DecodeConfig) -> Radiograph:
    """Return the radiograph in a PNG of 1 to 16 bits; see `decode.decode` for the codes."""
    size = read_png(data)
    check_size(size.rows, size.cols, config)
    if size.rows * size.cols * size.channels * (1 + size.bits // 16) > _BYTES_A_PIXEL * config.max_pixels:
        raise Reject(ErrorCode.IMAGE_TOO_LARGE, "a grey image may be stored in colour, but not at the largest size")
    _check_png(data)
    return _radiograph(data, size, "png", config)


def decode_jpeg_file(data: bytes, config: DecodeConfig) -> Radiograph:
    """Return the radiograph in a JPEG of 8 bits; see `decode.decode` for the codes."""
    size = jpeg.read_jpeg(data)
    check_size(size.rows, size.cols, config)
    if size.kind == jpeg.JPEG_LS:
        raise Reject(ErrorCode.UNKNOWN_FORMAT, "neither DICOM nor PNG nor JPEG, but JPEG-LS")
    if size.bits != 8 or size.kind not in {jpeg.BASELINE, jpeg.EXTENDED, jpeg.PROGRESSIVE}:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, "a JPEG file other than of 8 bits, Huffman-coded and lossy")
    return _radiograph(data, size, "jpeg", config)


def read_png(data: bytes) -> PngHeader:
    """Return what the IHDR chunk declares.

    Raises:
        Reject: corrupt_image where the first chunk is no IHDR.
    """
    if len(data) < 33 or data[8:16] != b"\x00\x00\x00\rIHDR":
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the PNG has no header chunk")
    cols, rows = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    channels = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}.get(data[25])
    if not rows or not cols or channels is None or data[24] not in {1, 2, 4, 8, 16}:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the PNG's header chunk is not valid")
    return PngHeader(rows, cols, data[24], channels)


def _check_png(data: bytes) -> None:
    """Walk every chunk up to IEND; its checksum must hold."""
    at = len(_PNG)
    view = memoryview(data)
    while True:
        if at + 12 > len(data):
            raise Reject(ErrorCode.CORRUPT_IMAGE, "the PNG ends before its last chunk")
        length, kind = int.from_bytes(view[at : at + 4], "big"), bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(data):
            raise Reject(ErrorCode.CORRUPT_IMAGE, "the PNG ends inside a chunk")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise Reject(ErrorCode.CORRUPT_IMAGE, "a checksum of the PNG is wrong")
        if kind == b"acTL":
            raise Reject(ErrorCode.MULTI_FRAME, "an animated PNG")
        if kind == b"IEND":
            return
        at = end


def _radiograph(data: bytes, size: PngHeader | jpeg.JpegHeader, name: str, config: DecodeConfig) -> Radiograph:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise Reject(ErrorCode.CORRUPT_IMAGE, f"the {name.upper()}'s pixels cannot be decoded")
    if pixels.shape[:2] != (size.rows, size.cols):
        raise Reject(ErrorCode.CORRUPT_IMAGE, f"the {name.upper()}'s pixels do not fit its header")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"samples of type {pixels.dtype}")
    stored = pixels if pixels.ndim == 2 else single_channel(pixels, config)
    gray = window_unsigned(stored, config)
    return Radiograph(gray, size.rows, size.cols, size.bits, name, stored)


def single_channel(pixels: np.ndarray, config: DecodeConfig) -> np.ndarray:
    """Return (H, W) of a grey image that was stored with colour or alpha channels.

    Args:
        pixels: (H, W, C), C of 1, 3 (colour) or 4 (colour and alpha).

    Raises:
        Reject: colour_image where the channels differ; unsupported_encoding where it is transparent.
    """
    for row in range(0, len(pixels), _BLOCK_ROWS):  # by blocks: OpenCV copies what is not contiguous
        block = pixels[row : row + _BLOCK_ROWS]
        for k in range(1, min(3, pixels.shape[2])):
            if int(cv2.absdiff(block[..., 0], block[..., k]).max()) > config.colour_tolerance:
                raise Reject(ErrorCode.COLOUR_IMAGE, "its channels differ")
        if pixels.shape[2] == 4 and (block[..., 3] != np.iinfo(pixels.dtype).max).any():
            raise Reject(ErrorCode.UNSUPPORTED_ENCODING, "an image with transparent pixels")
    return np.ascontiguousarray(pixels[..., 0])
