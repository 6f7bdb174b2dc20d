"""JPEG 2000 codestreams: size, depth and how finely they are cut, read before any decoder runs.

A decoder allocates for every pixel, tile, precinct and code-block that the header asks for, whether
or not there are bytes for it: a few hundred bytes can ask for many GiB.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wristmir_ray.errors import ErrorCode, Reject

_SOC, _EOC = b"\xff\x4f", b"\xff\xd9"
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_SIZ, _COD, _SOT, _SOD = 0x51, 0x52, 0x90, 0x93
_MAIN = frozenset({_SIZ, _COD, 0x50, 0x55, 0x57, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x63, 0x64})
"""SIZ COD CAP TLM PLM CPF QCD QCC RGN POC CRG COM: no COC, no packed packet headers."""
_TILE = frozenset({0x58, 0x5C, 0x5D, 0x5E, 0x5F, 0x64})
"""PLT QCD QCC RGN POC COM: the coding style is the whole image's."""
_MAX_TILES = 4096
"""8192 x 8192 pixels in tiles of 128."""
_MAX_BLOCKS = 2**19
"""8192 x 8192 pixels in code-blocks of 16 x 16 are 350,000; encoders write 32 x 32 or 64 x 64."""
_MAX_PACKETS = 2**25
"""Quality layers times resolutions times precincts; a decoder marks each in a table."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a codestream declares of its image."""

    rows: int
    cols: int
    bits: int
    signed: bool
    channels: int
    tile_rows: int
    tile_cols: int
    tiles: int


def codestream(frame: bytes) -> bytes:
    """Return the codestream in a frame; a JP2 file around it is tolerated and left out.

    Raises:
        Reject: corrupt_image where there is none.
    """
    if frame.startswith(_SOC):
        return frame
    at = 0 if frame.startswith(_JP2) else len(frame)
    while at + 8 <= len(frame):
        length, kind, head = int.from_bytes(frame[at : at + 4], "big"), frame[at + 4 : at + 8], 8
        if length == 1:
            length, head = int.from_bytes(frame[at + 8 : at + 16], "big"), 16
        end = at + length if length else len(frame)
        if kind == b"jp2c":
            return frame[at + head : end]
        if length < head:
            break
        at = end
    raise Reject(ErrorCode.CORRUPT_IMAGE, "no JPEG 2000 codestream")


def read_size(data: bytes) -> Size:
    """Return what the segment behind a codestream's first marker declares.

    Raises:
        Reject: corrupt_image.
    """
    if not data.startswith(bytes((*_SOC, 0xFF, _SIZ))) or len(data) < 45:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 codestream does not begin with its size")
    right, bottom, left, top, tile_cols, tile_rows, tile_left, tile_top = (
        int.from_bytes(data[i : i + 4], "big") for i in range(8, 40, 4)
    )
    channels, depth = int.from_bytes(data[40:42], "big"), data[42]
    placed = tile_left <= left < right and tile_top <= top < bottom and tile_cols and tile_rows
    if not placed or int.from_bytes(data[4:6], "big") != 38 + 3 * channels or data[43:45] != b"\1\1":
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 size segment is not valid")
    tiles = -((tile_left - right) // tile_cols) * -((tile_top - bottom) // tile_rows)
    cols, rows = right - left, bottom - top
    return Size(
        rows, cols, (depth & 0x7F) + 1, depth > 0x7F, channels, min(tile_rows, rows), min(tile_cols, cols), tiles
    )


def check_parts(data: bytes, size: Size) -> None:
    """Look at every header of a codestream, the tile-parts' too.

    Raises:
        Reject: corrupt_image where a segment, tile-part or the end marker is missing; unsupported_encoding
            where the image is cut more finely than any encoder does, or its coding changes within it.
    """
    segments = list(_segments(data, len(_SOC), _MAIN, _SOT))
    codings = [data[start:end] for marker, start, end in segments if marker == _COD]
    if len(codings) != 1 or [marker for marker, _, _ in segments].count(_SIZ) != 1:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 header does not state size and coding once each")
    _check_coding(codings[0], size)
    _check_tile_parts(data, segments[-1][2])


def _segments(data: bytes, at: int, allowed: frozenset[int], stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end of its content) until the marker `stop`."""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == stop:
            return
        if marker not in allowed:
            raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"a JPEG 2000 codestream with the marker {marker:#x}")
        if not at + 4 <= end <= len(data):
            break
        yield marker, at + 4, end
        at = end
    raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 codestream ends inside a header")


def _check_coding(cod: bytes, size: Size) -> None:
    """Reject a coding style that asks for more tiles, code-blocks or packets than any encoder does."""
    if len(cod) < 10 or cod[5] > 32 or (cod[0] & 1 and len(cod) < 11 + cod[5]):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 coding segment is not valid")
    layers, levels = int.from_bytes(cod[2:4], "big"), cod[5]
    blocks = 0
    for resolution in range(levels + 1):
        precinct = cod[10 + resolution] if cod[0] & 1 else 0xFF
        sides = zip(
            (size.tile_cols, size.tile_rows), (precinct & 15, precinct >> 4), (cod[6] & 15, cod[7] & 15), strict=True
        )
        count = size.tiles
        for side, precinct_log2, block_log2 in sides:
            block = 1 << min(max(precinct_log2 - (resolution > 0), 0), block_log2 + 2)
            count *= -(-side >> (levels - resolution)) // block + 2
        blocks += count
    if size.tiles > _MAX_TILES or blocks > _MAX_BLOCKS or blocks * layers * (levels + 1) > _MAX_PACKETS:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, "a JPEG 2000 codestream cut into too many parts")


def _check_tile_parts(data: bytes, at: int) -> None:
    """Walk all tile-parts up to the end marker; each header may hold only what changes no allocation."""
    while data[at : at + 2] == bytes((0xFF, _SOT)):
        length = int.from_bytes(data[at + 6 : at + 10], "big")
        end = at + length if length else data.rfind(_EOC)
        for _ in _segments(data, at + 12, _TILE, _SOD):
            pass
        if not at + 14 <= end < len(data):
            break
        at = end
    if data[at : at + 2] != _EOC:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 codestream ends before its end marker")
