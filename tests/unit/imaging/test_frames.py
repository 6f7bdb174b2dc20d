"""Compressed frames: lossless ones give back every pixel, lossy ones stay within a bound, bad ones are rejects."""

import itertools
import re
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid

from tests.conftest import REPO
from tests.unit.imaging import samples
from wristmir_ray import keys
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import Radiograph, decode
from wristmir_ray.imaging.frames import decode_frame

CONFIG = DecodeConfig()
SMALL = DecodeConfig(min_side_px=8)
COMPRESSED = samples.LOSSLESS + samples.LOSSY
DEPTHS = (8, 12, 16)
TWELVE = samples.pixels(12)


def _name(syntax: object) -> str:
    return syntax.keyword if isinstance(syntax, uid.UID) else str(syntax)


def _code(data: bytes) -> ErrorCode:
    with pytest.raises(Reject) as caught:
        decode(data, CONFIG)
    return caught.value.code


def _bits(syntax: str) -> int:
    return 8 if syntax == uid.JPEGBaseline8Bit else 12


def _packed(syntax: str) -> tuple[np.ndarray, bytes]:
    stored = samples.pixels(_bits(syntax))
    return stored, samples.frame(stored, syntax, _bits(syntax))


def _file(syntax: str, frame: bytes, **elements: object) -> bytes:
    """A header for 48 x 40 pixels around any frame."""
    stored = samples.pixels(_bits(syntax))
    return samples.write(samples.dataset(stored, _bits(syntax), **elements), syntax, frame)


# ---------------------------------------------------------------- good


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", DEPTHS)
@pytest.mark.parametrize("syntax", samples.LOSSLESS, ids=_name)
def test_lossless_gives_every_pixel(syntax: str, bits: int, signed: bool) -> None:
    stored = samples.pixels(bits, signed=signed)
    image = decode(samples.compressed(stored, syntax, bits), CONFIG)
    assert image.stored.dtype == stored.dtype
    assert (image.stored == stored).all()
    assert image.pixel_id == decode(samples.write(samples.dataset(stored, bits)), CONFIG).pixel_id


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 7, 8, 9, 13, 16])
def test_lossless_jpeg_of_every_predictor(bits: int, predictor: int) -> None:
    stored = samples.pixels(bits)
    frame = bytes(imagecodecs.jpeg8_encode(stored, lossless=True, predictor=predictor, bitspersample=bits))
    assert (decode_frame(frame, uid.JPEGLossless, *stored.shape, stored.dtype, bits) == stored).all()


BOUNDS = {
    (uid.JPEGBaseline8Bit, 8): 2,
    (uid.JPEGExtended12Bit, 8): 2,
    (uid.JPEGExtended12Bit, 12): 4,
    **{(uid.JPEGLSNearLossless, bits): 2 for bits in DEPTHS},
    **{(s, bits): max(2, 2**bits // 4096) for s in (uid.JPEG2000, uid.HTJ2K) for bits in DEPTHS},
}
"""Largest difference in stored values: what quality 98, NEAR = 2 and fine quantisation leave."""


@pytest.mark.parametrize(("syntax", "bits"), BOUNDS, ids=_name)
def test_lossy_stays_within_a_bound(syntax: str, bits: int) -> None:
    stored = samples.pixels(bits)
    image = decode(samples.compressed(stored, syntax, bits), CONFIG)
    assert image.stored.dtype == stored.dtype
    assert np.abs(image.stored.astype(int) - stored).max() <= BOUNDS[syntax, bits]


def test_what_overshoots_stays_white() -> None:
    """Near-lossless frames of 16 bits hold 4095 + 2 where 4095 is white: 12 of those bits would be black."""
    white = TWELVE > 4090
    frame = bytes(imagecodecs.jpegls_encode(np.where(white, 4097, TWELVE).astype(np.uint16)))
    image = decode(_file(uid.JPEGLSNearLossless, frame), CONFIG)
    assert (image.stored[white] == 4095).all()


def test_signed_samples_in_a_deeper_stream_keep_their_sign() -> None:
    """Ten bits, signed, as bit patterns in a stream of twelve: lossy JPEG has 8 or 12."""
    stored = samples.pixels(9, signed=True)
    frame = bytes(imagecodecs.jpeg8_encode(stored.view(np.uint16) & 0x3FF, 100, bitspersample=12))
    image = decode(samples.write(samples.dataset(stored, 10), uid.JPEGExtended12Bit, frame), CONFIG)
    inside = np.abs(stored.astype(int)) > 8  # a lossy code may cross from -1 to 0
    assert np.abs(image.stored.astype(int) - stored)[inside].max() <= 2


@pytest.mark.parametrize(
    ("photometric", "slope", "window", "syntax"),
    list(itertools.product(("MONOCHROME1", "MONOCHROME2"), (1, -1), (True, False), samples.LOSSLESS)),
    ids=_name,
)
def test_grey_is_that_of_the_plain_file(photometric: str, slope: int, window: bool, syntax: str) -> None:
    stored = samples.pixels(12, signed=True)
    elements = {"PhotometricInterpretation": photometric, "RescaleSlope": slope, "RescaleIntercept": 7}
    elements |= {"WindowCenter": 100, "WindowWidth": 3000} if window else {}
    plain = decode(samples.write(samples.dataset(stored, 12, **elements)), CONFIG)
    assert (decode(samples.compressed(stored, syntax, 12, **elements), CONFIG).gray == plain.gray).all()


@pytest.mark.parametrize("file", sorted((REPO / "tests/data/decode_gdcm").glob("*.dcm")), ids=lambda f: f.stem)
def test_what_another_encoder_wrote(file: Path) -> None:
    """Written by GDCM 3.2 from these very pixels; the name ends in the bits stored, s for signed."""
    bits, signed = re.fullmatch(r".*_(\d+)(s?)", file.stem).groups()
    stored = samples.pixels(int(bits), 24, 20, signed=bool(signed))
    assert (decode(file.read_bytes(), SMALL).stored == stored).all()


def _shipped(name: str) -> Radiograph:
    anything = DecodeConfig(modalities=("MR", "NM", "OT"), body_parts=re.compile(".*"))
    return decode((Path(pydicom.__file__).parent / "data/test_files" / name).read_bytes(), anything)


@pytest.mark.parametrize("packed", ["MR_small_RLE", "MR_small_jpeg_ls_lossless", "MR_small_jp2klossless"])
def test_one_image_of_pydicom_in_every_syntax(packed: str) -> None:
    assert _shipped(f"{packed}.dcm").pixel_id == _shipped("MR_small.dcm").pixel_id


@pytest.mark.parametrize("name", ["JPEG-lossy", "JPGExtended"])
def test_12_bit_jpeg_of_others(name: str) -> None:
    """GDCM decodes these two to the same pixels."""
    assert _shipped(f"{name}.dcm").pixel_id == "b93524bd1817c41e52a6c2151fe8090c"


def test_a_frame_in_pieces_is_joined() -> None:
    stored, frame = _packed(uid.JPEGLSLossless)
    half = len(frame) // 4 * 2
    ds = samples.dataset(stored)
    data = samples.write(ds, uid.JPEGLSLossless, frame)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, half)
    packed = data.replace(struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(frame) % 2) + frame[:half], b"")
    at = data.index(frame[:half]) - 8
    rest = data[at + 8 + half :]
    second = struct.pack("<HHI", 0xFFFE, 0xE000, len(frame) + len(frame) % 2 - half)
    assert packed != data
    assert (decode(data[:at] + item + frame[:half] + second + rest, CONFIG).stored == stored).all()


def test_a_jp2_file_in_a_frame_is_tolerated() -> None:
    stored, frame = _packed(uid.JPEG2000Lossless)
    wrapped = (
        b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I", 10) + b"uuid\xff\x4f" + struct.pack(">I", 0) + b"jp2c" + frame
    )
    assert (decode(_file(uid.JPEG2000Lossless, wrapped), CONFIG).stored == stored).all()


# ---------------------------------------------------------------- bad


@pytest.mark.parametrize("syntax", COMPRESSED, ids=_name)
def test_a_large_header_is_refused_before_the_frame_is_read(syntax: str) -> None:
    data = _file(syntax, b"\xff\xd8 no frame at all", Rows=65_535, Columns=65_535)
    assert _code(data) == ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.parametrize("syntax", [s for s in COMPRESSED if s != uid.RLELossless], ids=_name)
def test_a_large_frame_in_a_small_header_is_no_image(syntax: str) -> None:
    side = 100_000 if syntax in uid.JPEG2000TransferSyntaxes else 65_000
    assert _code(_file(syntax, samples.resized(_packed(syntax)[1], side, side))) == ErrorCode.CORRUPT_IMAGE


def test_an_rle_segment_that_grows_beyond_its_pixels_is_no_image() -> None:
    segment = b"\x81\0" * 1_000_000  # two bytes to 128
    header = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    assert _code(_file(uid.RLELossless, header + segment * 2)) == ErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("syntax", COMPRESSED, ids=_name)
def test_a_cut_frame_is_no_image(syntax: str, share: float) -> None:
    frame = _packed(syntax)[1]
    assert _code(_file(syntax, frame[: int(share * len(frame))] or b"\0\0")) == ErrorCode.CORRUPT_IMAGE


@pytest.mark.parametrize("syntax", COMPRESSED, ids=_name)
def test_a_cut_file_is_no_image(syntax: str) -> None:
    frame = _packed(syntax)[1]
    data = _file(syntax, frame)
    start = data.index(frame[:32])
    assert {_code(data[:cut]) for cut in range(start, len(data) - 8, 97)} == {ErrorCode.CORRUPT_IMAGE}


FAMILIES = (
    uid.ExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGExtended12Bit,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)


@pytest.mark.parametrize(("declared", "coded"), list(itertools.permutations(FAMILIES, 2)), ids=_name)
def test_another_transfer_syntax_than_declared(declared: str, coded: str) -> None:
    plain = coded == uid.ExplicitVRLittleEndian
    data = samples.write(samples.dataset(TWELVE)) if plain else samples.compressed(TWELVE, coded)
    assert _code(samples.declared(data, declared)) == ErrorCode.CORRUPT_IMAGE


def test_12_bits_are_no_baseline_jpeg() -> None:
    frame = samples.frame(TWELVE, uid.JPEGExtended12Bit)
    assert _code(samples.write(samples.dataset(TWELVE), uid.JPEGBaseline8Bit, frame)) == ErrorCode.CORRUPT_IMAGE


def test_a_frame_deeper_than_its_header_is_no_image() -> None:
    frame = samples.frame(TWELVE, uid.JPEG2000Lossless)
    assert _code(samples.write(samples.dataset(samples.pixels(8), 8), uid.JPEG2000Lossless, frame)) == (
        ErrorCode.CORRUPT_IMAGE
    )


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEG2000Lossless, uid.JPEGLSLossless], ids=_name)
def test_a_coloured_frame_in_a_grey_header_is_no_image(syntax: str) -> None:
    colour = np.dstack([samples.pixels(8)] * 3)
    encode = {
        uid.JPEGBaseline8Bit: imagecodecs.jpeg8_encode,
        uid.JPEG2000Lossless: lambda p: imagecodecs.jpeg2k_encode(p, codecformat="J2K", reversible=True),
        uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    }[syntax]
    assert _code(samples.write(samples.dataset(colour[..., 0], 8), syntax, bytes(encode(colour)))) == (
        ErrorCode.CORRUPT_IMAGE
    )


def test_an_offset_table_cannot_name_another_frame() -> None:
    """The decoder gets the very bytes that were checked, whatever a second table of offsets says."""
    stored, frame = _packed(uid.JPEG2000Lossless)
    bomb = samples.resized(frame, 100_000, 100_000)
    start = 8 + len(frame) + len(frame) % 2
    data = _file(uid.JPEG2000Lossless, frame)
    table = {
        "ExtendedOffsetTable": struct.pack("<Q", start),
        "ExtendedOffsetTableLengths": struct.pack("<Q", len(bomb)),
    }
    tabled = _file(uid.JPEG2000Lossless, frame, **table)
    assert len(tabled) > len(data)
    assert decode(tabled, CONFIG).pixel_id == keys.pixel_id(stored)
