"""Mutations that keep a DICOM file in its form: elements, their values and lengths, fragments and frames.

Files are taken apart here and not by pydicom, which would not write most of what comes of it.
"""

import struct
import zlib
from dataclasses import dataclass
from random import Random

from pydicom import uid

from tests.fuzz.streams import SHORTS, SIDES, mutate_bytes, mutate_stream, resize_stream

_LONG = {b"OB", b"OW", b"OF", b"OD", b"SQ", b"UN", b"UT", b"UC", b"UR"}
_UNDEFINED = 0xFFFFFFFF
_PIXELS, _ROWS, _COLS, _SYNTAX = (0x7FE0, 0x10), (0x28, 0x10), (0x28, 0x11), (0x02, 0x10)
_NUMBERS = [(0x28, e) for e in (0x02, 0x08, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103, 0x120, 0x121)]
_TEXTS = [(0x28, e) for e in (0x04, 0x08, 0x1050, 0x1051, 0x1052, 0x1053, 0x1056)] + [
    (0x08, 0x60), (0x18, 0x15), (0x10, 0x10), (0x10, 0x30), (0x10, 0x1010), (0x08, 0x20), (0x18, 0x5101), (0x08, 0x05)
]  # fmt: skip
_WORDS = (
    b"",
    b"\\" * 8,
    b"NaN ",
    b"1e400 ",
    b"-1",
    b"0 ",
    b"1\\2\\3 ",
    b"99999999999999999999",
    b"\xff\xfe",
    b"9" * 5000,
)
_SYNTAXES = [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian] + [
    s for s in uid.AllTransferSyntaxes if s.is_compressed
]


@dataclass
class Element:
    """One element in explicit little endian, as it will be written."""

    tag: tuple[int, int]
    vr: bytes
    value: bytes
    length: int | None = None
    """What is written as its length; None for the true one."""
    fragments: list[bytes] | None = None
    """The items of compressed pixels, the offset table first."""

    def write(self) -> bytes:
        value, length = self.value, len(self.value)
        if self.fragments is not None:
            items = (struct.pack("<HHI", 0xFFFE, 0xE000, len(f)) + f for f in self.fragments)
            value, length = b"".join(items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), _UNDEFINED
        length = length if self.length is None else self.length
        head = struct.pack("<HH2s", *self.tag, self.vr)
        return (
            head + (struct.pack("<HI", 0, length) if self.vr in _LONG else struct.pack("<H", length & 0xFFFF)) + value
        )


def parse(data: bytes) -> list[Element]:
    """Return the elements of an explicit little endian file, as far as they can be read."""
    elements, at = [], 132
    while at + 8 <= len(data):
        group, number, vr = struct.unpack_from("<HH2s", data, at)
        long = vr in _LONG
        if at + 12 > len(data):
            break
        length = struct.unpack_from("<I" if long else "<H", data, at + 8 if long else at + 6)[0]
        start = at + 12 if long else at + 8
        fragments = None
        if length == _UNDEFINED:
            fragments, end = _fragments(data, start)
        else:
            end = start + length
        elements.append(Element((group, number), vr, data[start:end], None, fragments))
        at = end
    return elements


def _fragments(data: bytes, at: int) -> tuple[list[bytes], int]:
    found = []
    while at + 8 <= len(data) and data[at : at + 4] == b"\xfe\xff\x00\xe0":
        length = struct.unpack_from("<I", data, at + 4)[0]
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found, min(at + 8, len(data))


def mutate_object(rng: Random, data: bytes, frames: list[bytes]) -> bytes:
    """Return a DICOM file changed within its form; `frames` are streams to put into it."""
    if data[128:132] != b"DICM":
        return mutate_bytes(rng, data)
    elements = parse(data)
    syntax = next((e.value for e in elements if e.tag == _SYNTAX), b"")
    deflated = syntax.strip(b"\0") == uid.DeflatedExplicitVRLittleEndian.encode()
    if deflated:
        meta = [e for e in elements if e.tag[0] == 2]
        start = 132 + sum(len(e.write()) for e in meta)
        try:
            elements = meta + parse(bytes(132) + zlib.decompressobj(-15).decompress(data[start:], 10**6))
        except zlib.error:
            return mutate_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        _mutate(rng, elements, frames)
    if not deflated or rng.random() < 0.1:
        return data[:132] + b"".join(e.write() for e in elements)
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    inner = b"".join(e.write() for e in elements if e.tag[0] != 2)
    return data[:132] + b"".join(e.write() for e in elements if e.tag[0] == 2) + body.compress(inner) + body.flush()


def _mutate(rng: Random, elements: list[Element], frames: list[bytes]) -> None:
    if not elements:
        return
    element = rng.choice(elements)
    pixels = next((e for e in elements if e.tag == _PIXELS), element)
    choice = rng.randrange(13)
    if choice == 0:
        _put(elements, rng.choice(_NUMBERS), b"US", struct.pack("<H", rng.choice(SHORTS + SIDES)))
    elif choice == 1:
        _put(elements, rng.choice(_TEXTS), rng.choice((b"DS", b"CS", b"IS", b"LO", b"PN", b"DA")), rng.choice(_WORDS))
    elif choice == 2:
        elements.remove(element)
    elif choice == 3:
        elements.insert(rng.randrange(len(elements) + 1), element)
    elif choice == 4:
        element.vr = rng.choice((b"US", b"SS", b"DS", b"SQ", b"UN", b"OB", b"OW", b"LO", b"??", b"UT"))
    elif choice == 5:
        element.length = rng.choice(
            (0, 1, 2, len(element.value) + 1, max(len(element.value) - 1, 0), 0xFFFE, _UNDEFINED)
        )
    elif choice == 6:
        element.value = mutate_bytes(rng, element.value)
    elif choice == 7:
        _put(elements, rng.choice(((0x28, 0x3000), (0x28, 0x3010))), b"SQ", _lut(rng))
    elif choice == 8:
        _put(elements, _SYNTAX, b"UI", rng.choice(_SYNTAXES).encode() + b"\0")
    elif choice == 9:
        _resize(elements, pixels, rng.choice(SIDES), rng.choice(SIDES))
    elif pixels.fragments:
        _repack(rng, pixels, frames)
    else:
        pixels.value = mutate_bytes(rng, pixels.value)


def _put(elements: list[Element], tag: tuple[int, int], vr: bytes, value: bytes) -> None:
    for element in elements:
        if element.tag == tag:
            element.vr, element.value = vr, value
            return
    place = next((i for i, e in enumerate(elements) if e.tag > tag), len(elements))
    elements.insert(place, Element(tag, vr, value))


def _resize(elements: list[Element], pixels: Element, rows: int, cols: int) -> None:
    """Give header and frame one size that agrees, whatever the pixels are."""
    _put(elements, _ROWS, b"US", struct.pack("<H", rows))
    _put(elements, _COLS, b"US", struct.pack("<H", cols))
    if pixels.fragments:
        pixels.fragments = [resize_stream(f, rows, cols) for f in pixels.fragments]


def _repack(rng: Random, pixels: Element, frames: list[bytes]) -> None:
    k = rng.randrange(len(pixels.fragments))
    fragment = pixels.fragments[k]
    match rng.randrange(6):
        case 0 if fragment:
            cut = rng.randrange(len(fragment))
            pixels.fragments[k : k + 1] = [fragment[:cut], fragment[cut:]]
        case 1:
            pixels.fragments[k] = rng.choice(frames)
        case 2:
            pixels.fragments[0] = struct.pack("<2I", rng.choice((0, 8, 100)), rng.choice((0, 8, 1000, _UNDEFINED)))
        case 3:
            pixels.fragments = pixels.fragments[:1] + pixels.fragments[1:] * 2
        case _:
            pixels.fragments[k] = mutate_stream(rng, fragment) if fragment else rng.randbytes(4)


def _lut(rng: Random) -> bytes:
    """A sequence of one look-up table, or of sequences within sequences."""
    if rng.random() < 0.1:
        head = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED) + struct.pack(
            "<HH2sHI", 0x28, 0x3010, b"SQ", 0, _UNDEFINED
        )
        return head * rng.choice((3, 400, 3000))
    entries = rng.randbytes(rng.choice((0, 1, 2, 512, 4096)))
    descriptor = struct.pack("<3H", rng.choice(SHORTS), rng.choice(SHORTS), rng.choice((0, 8, 16, 255)))
    item = Element((0x28, 0x3002), rng.choice((b"US", b"SS")), descriptor[: rng.choice((2, 4, 6, 6, 6))]).write()
    item += Element((0x28, 0x3006), rng.choice((b"US", b"OW", b"SS")), entries).write()
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
