"""Mutations that keep a PNG, JPEG or JPEG 2000 stream in its form: chunks, segments, fields, sizes."""

import struct
import zlib
from random import Random

SIDES = (0, 1, 2, 31, 32, 33, 34, 64, 255, 256, 1000, 4096, 8191, 8192, 16384, 32768, 65535)
SHORTS = (0, 1, 2, 7, 8, 15, 16, 31, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF)
WORDS = (*SHORTS, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutate_bytes(rng: Random, data: bytes) -> bytes:
    """Return `data` with a few bytes, numbers or pieces changed, its form unheeded."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(8):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
            case 2:
                out[at : at + 2] = struct.pack(rng.choice("<>") + "H", rng.choice(SHORTS))
            case 3:
                out[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(WORDS))
            case 4:
                del out[at : at + rng.choice((1, 2, 4, 16, 256))]
            case 5:
                out[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
            case 6:
                start = rng.randrange(len(out) + 1)
                out[at:at] = out[start : start + rng.choice((4, 16, 64))]
            case 7 if rng.random() < 0.3:
                del out[at:]
    return bytes(out)


def mutate_stream(rng: Random, data: bytes) -> bytes:
    """Return `data` changed within the form that its first bytes announce."""
    if data.startswith(b"\x89PNG"):
        return _png(rng, data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg(rng, data)
    if data.startswith(b"\xff\x4f"):
        return _jpeg2000(rng, data)
    return mutate_bytes(rng, data)


def resize_stream(data: bytes, rows: int, cols: int) -> bytes:
    """Return `data` with another size in its header; unchanged where there is none."""
    out = bytearray(data)
    if data.startswith(b"\x89PNG") and len(out) > 33:
        out[16:24] = struct.pack(">II", cols, rows)
        out[29:33] = struct.pack(">I", zlib.crc32(out[12:29]))
    elif data.startswith(b"\xff\x4f\xff\x51") and len(out) > 40:
        out[8:16] = struct.pack(">II", cols, rows)
        out[24:32] = struct.pack(">II", cols, rows)
    elif data.startswith(b"\xff\xd8"):
        for sof in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
            at = data.find(bytes((0xFF, sof, 0)))
            if at >= 0:
                out[at + 5 : at + 9] = struct.pack(">HH", rows & 0xFFFF, cols & 0xFFFF)
                break
    return bytes(out)


def _png(rng: Random, data: bytes) -> bytes:
    chunks, at = [], 8
    while at + 8 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    k = rng.randrange(len(chunks)) if chunks else 0
    match rng.randrange(7):
        case 0 if chunks:
            chunks[k] = (chunks[k][0], mutate_bytes(rng, chunks[k][1]))
        case 1 if chunks:
            header = bytearray(chunks[0][1][:13].ljust(13, b"\0"))
            header[8 + rng.randrange(5)] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
            chunks[0] = (chunks[0][0], bytes(header))
        case 2:
            kind = rng.choice(
                (b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"bKGD", b"sBIT", b"acTL", b"fdAT")
            )
            bomb = b"a\0\0" + zlib.compress(bytes(rng.choice((10, 10**6, 3 * 10**7))), 9)
            chunks.insert(rng.randrange(len(chunks) + 1), (kind, rng.choice((bomb, rng.randbytes(9), bytes(768)))))
        case 3 if chunks:
            raw = rng.choice((bytes(100), bytes(5 * 10**6), rng.randbytes(3000)))
            chunks = [(b"IDAT", zlib.compress(raw)) if kind == b"IDAT" else (kind, body) for kind, body in chunks]
        case 4 if chunks:
            chunks.insert(rng.randrange(len(chunks) + 1), chunks[k])
        case 5 if chunks:
            del chunks[k]
        case _:
            return resize_stream(data, rng.choice(SIDES), rng.choice(SIDES))
    packed = (struct.pack(">I", len(b)) + kind + b + struct.pack(">I", zlib.crc32(kind + b)) for kind, b in chunks)
    return data[:8] + b"".join(packed)


def _jpeg(rng: Random, data: bytes) -> bytes:
    """Change segments up to the first scan, or the coded samples behind it."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        end = at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        segments.append((data[at + 1], data[at + 4 : end]))
        at = end
        if segments[-1][0] == 0xDA:
            break
    coded = data[at:]
    if not segments:
        return mutate_bytes(rng, data)
    k = rng.randrange(len(segments))
    marker, body = segments[k]
    match rng.randrange(9):
        case 0 | 1:
            segments[k] = (marker, mutate_bytes(rng, body))
        case 2:
            segments.insert(rng.randrange(len(segments) + 1), segments[k])
        case 3:
            del segments[k]
        case 4:
            other = rng.choice(
                (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xDB, 0xDC, 0xDD, 0xE0, 0xE1, 0xEE, 0xF7, 0xF8, 0xFE)
            )
            segments.insert(
                rng.randrange(len(segments) + 1), (other, rng.choice((body, rng.randbytes(rng.randrange(40)))))
            )
        case 5:
            segments[k] = (rng.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xDA, 0xF7, 0xF8)), body)
        case 6:
            coded = mutate_bytes(rng, coded)
        case 7:
            scan = bytes((0xFF, 0xDA)) + struct.pack(">H", len(segments[-1][1]) + 2) + segments[-1][1]
            coded = scan * rng.choice((1, 5, 90, 2000)) + coded
        case 8:
            return resize_stream(data, rng.choice(SIDES), rng.choice(SIDES))
    written = (bytes((0xFF, m)) + struct.pack(">H", (len(b) + 2) & 0xFFFF) + b for m, b in segments)
    return data[:2] + b"".join(written) + coded


def _jpeg2000(rng: Random, data: bytes) -> bytes:
    """Change fields of the size, coding and tile-part segments, or the packets."""
    out = bytearray(data)
    cod = data.find(b"\xff\x52")
    sot = data.find(b"\xff\x90")
    match rng.randrange(8):
        case 0:
            at = 8 + 4 * rng.randrange(8)
            out[at : at + 4] = struct.pack(">I", rng.choice(WORDS))
        case 1 if len(out) > 45:
            out[40 + rng.randrange(5)] = rng.choice((0, 1, 2, 7, 8, 11, 15, 31, 37, 0x8B, 255))
        case 2 if cod >= 0:
            at = cod + 4 + rng.randrange(12)
            out[at : at + 1] = bytes((rng.choice((0, 1, 2, 3, 4, 5, 6, 8, 10, 32, 33, 64, 255)),))
        case 3 if cod >= 0:  # precincts of any size
            levels = rng.randrange(7)
            body = bytes((1, rng.randrange(5), *struct.pack(">H", rng.choice(SHORTS)), 0, levels, rng.randrange(9)))
            body += bytes((rng.randrange(9), rng.randrange(64), rng.randrange(2)))
            body += bytes(rng.choice((0, 0x11, 0x22, 0x55, 0x77, 0xFF)) for _ in range(levels + 1))
            old = struct.unpack(">H", data[cod + 2 : cod + 4])[0]
            out[cod : cod + 2 + old] = b"\xff\x52" + struct.pack(">H", len(body) + 2) + body
        case 4 if sot >= 0:
            at = sot + 4 + rng.randrange(8)
            out[at : at + 1] = bytes((rng.choice((0, 1, 2, 127, 255)),))
        case 5 if sot >= 0:
            extra = rng.choice(
                (b"\xff\x53", b"\xff\x5c", b"\xff\x5e", b"\xff\x5f", b"\xff\x58", b"\xff\x60", b"\xff\x61")
            )
            body = rng.randbytes(rng.randrange(2, 20))
            at = rng.choice((sot, sot + 12))
            out[at:at] = extra + struct.pack(">H", len(body) + 2) + body
        case 6:
            return data[: max(sot, 0) + 14] + mutate_bytes(rng, data[max(sot, 0) + 14 :])
        case _:
            return resize_stream(data, rng.choice(SIDES), rng.choice(SIDES))
    return bytes(out)
