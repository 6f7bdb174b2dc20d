"""Every container: good ones decode, bad ones end in their own code."""

import datetime
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import uid

from tests.unit.imaging import samples
from wristmir_ray import keys
from wristmir_ray.anatomy import Sex, Side, View
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig, Identifier
from wristmir_ray.imaging.decode import Header, decode
from wristmir_ray.imaging.identifiers import Held
from wristmir_ray.imaging.window import percentile_bounds

CONFIG = DecodeConfig()
GRAY16, GRAY8 = samples.pixels(16), samples.pixels(8)


def _reject(data: bytes, config: DecodeConfig = CONFIG) -> Reject:
    with pytest.raises(Reject) as caught:
        decode(data, config)
    return caught.value


# ---------------------------------------------------------------- good


def test_png16() -> None:
    image = decode(samples.png(GRAY16), CONFIG)
    low, high = percentile_bounds(GRAY16, CONFIG)
    expected = np.clip((GRAY16 - low) / (high - low), 0, 1) * 255
    assert (image.format, image.bits, image.header) == ("png", 16, None)
    assert image.pixel_id == keys.pixel_id(GRAY16)
    assert np.abs(image.gray - expected).max() <= 0.51


def test_another_image_than_the_expected_one() -> None:
    expected = keys.pixel_id(GRAY16)
    assert decode(samples.png(GRAY16), CONFIG, expected).pixel_id == expected
    with pytest.raises(Reject) as raised:
        decode(samples.png(GRAY16 + 1), CONFIG, expected)
    assert raised.value.code == ErrorCode.SOURCE_CHANGED
    with pytest.raises(Reject) as raised:
        decode(b"now a text", CONFIG, expected)
    assert raised.value.code == ErrorCode.UNKNOWN_FORMAT


@pytest.mark.parametrize("alpha", [False, True])
def test_grey_png_stored_as_colour(alpha: bool) -> None:
    grey = decode(samples.png(GRAY8), CONFIG)
    stacked = np.dstack([GRAY8] * 3 + ([np.full_like(GRAY8, 255)] if alpha else []))
    image = decode(samples.png(stacked), CONFIG)
    assert (image.gray == grey.gray).all()
    assert image.pixel_id == grey.pixel_id


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg(channels: int) -> None:
    image = decode(samples.jpeg(GRAY8 if channels == 1 else np.dstack([GRAY8] * 3)), CONFIG)
    assert (image.format, image.bits, image.gray.shape) == ("jpeg", 8, GRAY8.shape)
    assert np.corrcoef(image.gray.ravel(), GRAY8.ravel())[0, 1] > 0.99


def test_an_orientation_tag_rotates_nothing() -> None:
    plain = samples.jpeg(GRAY8)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    assert (decode(turned, CONFIG).gray == decode(plain, CONFIG).gray).all()


def _encodings() -> dict[str, Callable[[], bytes]]:
    twelve = samples.pixels(12)

    def rle() -> bytes:
        ds = samples.dataset(twelve)
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        ds.compress(uid.RLELossless)
        return samples.write(ds, uid.RLELossless)

    def big_endian() -> bytes:
        ds = samples.dataset(twelve)
        ds.PixelData = twelve.astype(">u2").tobytes()
        return samples.write(ds, uid.ExplicitVRBigEndian)

    return {
        "implicit": lambda: samples.write(samples.dataset(twelve), uid.ImplicitVRLittleEndian),
        "big_endian": big_endian,
        "deflated": lambda: samples.write(samples.dataset(twelve), uid.DeflatedExplicitVRLittleEndian),
        "rle": rle,
        "bare": lambda: samples.write(samples.dataset(twelve), uid.ImplicitVRLittleEndian)[132:],
    }


@pytest.mark.parametrize("name", list(_encodings()))
def test_lossless_transfer_syntaxes_give_the_same_pixels(name: str) -> None:
    plain, other = decode(samples.dicom(), CONFIG), decode(_encodings()[name](), CONFIG)
    assert other.pixel_id == plain.pixel_id
    assert (other.gray == plain.gray).all()


def test_header() -> None:
    header = decode(samples.dicom(), CONFIG).header
    assert header == Header(
        sop_instance_uid="1.2.826.0.1.3680043.8.498.1",
        patient_id="P-7",
        accession="A-1",
        laterality=Side.LEFT,
        view=View.PA,
        age_years=9.0,
        sex=Sex.FEMALE,
        study_date=datetime.date(2024, 2, 3),
        modality="DX",
        body_part="WRIST",
        held=(Held(Identifier.PATIENT_NAME, "PatientName", "ANON"),),
    )


# ---------------------------------------------------------------- bad


def _text_dicom() -> bytes:
    return b"This is a text file that somebody called radiograph.dcm.\n" * 9


def _deflated() -> bytes:
    return samples.write(samples.dataset(samples.pixels(12)), uid.DeflatedExplicitVRLittleEndian)


def _bomb_deflated() -> bytes:
    data = samples.write(samples.dataset(samples.pixels(12)), uid.DeflatedExplicitVRLittleEndian)
    start = 132 + 12 + int.from_bytes(data[140:144], "little")
    return data[:start] + zlib.compress(bytes(40 * 2**20), 9)[2:-4]


def _flat(value: int = 0) -> np.ndarray:
    return np.full((40, 40), value, np.uint16)


def _coloured() -> np.ndarray:
    return np.dstack([GRAY8, GRAY8, 255 - GRAY8])


def _animated() -> bytes:
    data = samples.png(GRAY8)
    return data[:33] + samples.chunk(b"acTL", bytes(8)) + data[33:]


def _flipped(data: bytes, at: float) -> bytes:
    out = bytearray(data)
    out[int(at * len(data))] ^= 0x55
    return bytes(out)


def _rgb_dicom() -> bytes:
    ds = samples.dataset(GRAY8, 8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    ds.PixelData = _coloured().tobytes()
    return samples.write(ds)


BAD: dict[str, tuple[Callable[[], bytes], ErrorCode]] = {
    "empty": (lambda: b"", ErrorCode.EMPTY_FILE),
    "text called .dcm": (_text_dicom, ErrorCode.UNKNOWN_FORMAT),
    "gif": (lambda: b"GIF89a" + bytes(200), ErrorCode.UNKNOWN_FORMAT),
    "zeros": (lambda: bytes(1000), ErrorCode.UNKNOWN_FORMAT),
    "jpeg-ls": (lambda: b"\xff\xd8\xff\xf7" + bytes(200), ErrorCode.UNKNOWN_FORMAT),
    "png cut at half": (lambda: samples.png(GRAY16)[: len(samples.png(GRAY16)) // 2], ErrorCode.CORRUPT_IMAGE),
    "png cut before its end chunk": (lambda: samples.png(GRAY16)[:-12], ErrorCode.CORRUPT_IMAGE),
    "png cut after its magic": (lambda: samples.png(GRAY16)[:12], ErrorCode.CORRUPT_IMAGE),
    "png with one wrong byte": (lambda: _flipped(samples.png(GRAY16), 0.7), ErrorCode.CORRUPT_IMAGE),
    "png with too few rows": (lambda: samples.png_header(100, 100), ErrorCode.CORRUPT_IMAGE),
    "animated png": (_animated, ErrorCode.MULTI_FRAME),
    "jpeg cut at half": (lambda: samples.jpeg(GRAY8)[: len(samples.jpeg(GRAY8)) // 2], ErrorCode.CORRUPT_IMAGE),
    "jpeg cut before its end marker": (lambda: samples.jpeg(GRAY8)[:-2], ErrorCode.CORRUPT_IMAGE),
    "png bomb": (lambda: samples.png_header(100_000, 100_000), ErrorCode.IMAGE_TOO_LARGE),
    "jpeg bomb": (lambda: samples.jpeg_header(65_000, 65_000), ErrorCode.IMAGE_TOO_LARGE),
    "dicom bomb": (lambda: samples.dicom(Rows=65_535, Columns=65_535), ErrorCode.IMAGE_TOO_LARGE),
    "deflated dicom bomb": (
        lambda: samples.write(
            samples.dataset(samples.pixels(12), Rows=65_535, Columns=65_535), uid.DeflatedExplicitVRLittleEndian
        ),
        ErrorCode.IMAGE_TOO_LARGE,
    ),
    "png of one pixel": (lambda: samples.png(GRAY16[:1, :1]), ErrorCode.IMAGE_TOO_SMALL),
    "dicom of one pixel": (
        lambda: samples.write(samples.dataset(samples.pixels(12, 2, 2)[:1, :1])),
        ErrorCode.IMAGE_TOO_SMALL,
    ),
    "jpeg of one pixel": (lambda: samples.jpeg(GRAY8[:1, :1]), ErrorCode.IMAGE_TOO_SMALL),
    "black png": (lambda: samples.png(_flat()), ErrorCode.NO_CONTRAST),
    "white png": (lambda: samples.png(_flat(65535)), ErrorCode.NO_CONTRAST),
    "black dicom": (lambda: samples.write(samples.dataset(_flat())), ErrorCode.NO_CONTRAST),
    "grey jpeg of one value": (lambda: samples.jpeg(_flat(77).astype(np.uint8)), ErrorCode.NO_CONTRAST),
    "black compressed dicom": (lambda: samples.compressed(_flat(), uid.JPEGLosslessSV1), ErrorCode.NO_CONTRAST),
    "dicom of one value and padding": (
        lambda: samples.write(samples.dataset(np.where(GRAY16 > 9000, 5, 0).astype(np.uint16), PixelPaddingValue=0)),
        ErrorCode.NO_CONTRAST,
    ),
    "coloured png": (lambda: samples.png(_coloured()), ErrorCode.COLOUR_IMAGE),
    "coloured jpeg": (lambda: samples.jpeg(_coloured()), ErrorCode.COLOUR_IMAGE),
    "coloured dicom": (_rgb_dicom, ErrorCode.COLOUR_IMAGE),
    "transparent png": (
        lambda: samples.png(np.dstack([GRAY8] * 3 + [GRAY8])),
        ErrorCode.UNSUPPORTED_ENCODING,
    ),
    "dicom cut at half": (lambda: samples.dicom()[:2500], ErrorCode.CORRUPT_IMAGE),
    "dicom cut in its meta header": (lambda: samples.dicom()[:200], ErrorCode.CORRUPT_IMAGE),
    "dicom cut in its header": (lambda: samples.dicom()[:400], ErrorCode.CORRUPT_IMAGE),
    "dicom with two images' pixels": (
        lambda: samples.dicom(PixelData=samples.pixels(12).tobytes() * 2),
        ErrorCode.CORRUPT_IMAGE,
    ),
    "explicit dicom called deflated": (
        lambda: samples.declared(samples.dicom(), uid.DeflatedExplicitVRLittleEndian),
        ErrorCode.CORRUPT_IMAGE,
    ),
    "deflated dicom called explicit": (
        lambda: samples.declared(_deflated(), uid.ExplicitVRLittleEndian),
        ErrorCode.CORRUPT_IMAGE,
    ),
    "little endian called big": (
        lambda: samples.declared(samples.dicom(), uid.ExplicitVRBigEndian),
        ErrorCode.CORRUPT_IMAGE,
    ),
    "dicom without rows": (lambda: samples.dicom(Rows=None), ErrorCode.CORRUPT_IMAGE),
    "dicom without image": (lambda: samples.dicom(PixelData=None), ErrorCode.NO_PIXELS),
    "two frames": (
        lambda: samples.dicom(NumberOfFrames=2, PixelData=samples.pixels(12).tobytes() * 2),
        ErrorCode.MULTI_FRAME,
    ),
    "ct": (lambda: samples.dicom(Modality="CT"), ErrorCode.NOT_RADIOGRAPH),
    "chest": (lambda: samples.dicom(BodyPartExamined="CHEST"), ErrorCode.NOT_WRIST),
    "elbow": (lambda: samples.dicom(BodyPartExamined="ELBOW"), ErrorCode.NOT_WRIST),
    "lower extremity": (lambda: samples.dicom(BodyPartExamined="LOWER EXTREMITY"), ErrorCode.NOT_WRIST),
    "32 bits": (lambda: samples.dicom(BitsAllocated=32, BitsStored=32, HighBit=31), ErrorCode.UNSUPPORTED_ENCODING),
    "jpeg xl": (
        lambda: samples.declared(samples.compressed(GRAY16, uid.JPEG2000, 16), "1.2.840.10008.1.2.4.110"),
        ErrorCode.UNSUPPORTED_ENCODING,
    ),
    "video": (
        lambda: samples.write(samples.dataset(GRAY16, 16), uid.MPEG2MPML, b"abcd"),
        ErrorCode.UNSUPPORTED_ENCODING,
    ),
    "jpeg 2000 larger than its header": (
        lambda: samples.compressed(GRAY16, uid.JPEG2000, 16, Rows=40),
        ErrorCode.CORRUPT_IMAGE,
    ),
    "jpeg bomb inside a small dicom": (
        lambda: samples.write(samples.dataset(GRAY8, 8), uid.JPEGBaseline8Bit, samples.jpeg_header(65_000, 65_000)),
        ErrorCode.CORRUPT_IMAGE,
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_has_its_own_code(name: str) -> None:
    make, code = BAD[name]
    assert _reject(make()).code == code


def test_a_deflated_dicom_is_not_inflated_beyond_the_limit() -> None:
    assert _reject(_bomb_deflated(), DecodeConfig(max_pixels=1024)).code == ErrorCode.IMAGE_TOO_LARGE


def test_16_bit_colour_of_the_largest_size_is_too_large() -> None:
    config = DecodeConfig(max_pixels=GRAY16.size)
    assert decode(samples.png(GRAY16), config).bits == 16
    assert decode(samples.png(np.dstack([GRAY8] * 3)), config).bits == 8
    assert _reject(samples.png(np.dstack([GRAY16] * 3)), config).code == ErrorCode.IMAGE_TOO_LARGE


def test_a_reject_quotes_no_header() -> None:
    secret = {
        "PatientName": "Musterfrau^Erika",
        "PatientID": "Musterfrau",
        "BodyPartExamined": "Erika",
        "Modality": "ER",
    }
    for name, value in secret.items():
        elements = {name: value} | ({"Modality": "CT"} if name.startswith("Patient") else {})
        message = str(_reject(samples.dicom(**elements)))
        assert "Musterfrau" not in message
        assert "Erika" not in message


@pytest.mark.parametrize("part", ["", "WRIST", "Left Wrist", "HAND", "FOREARM", "EXTREMITY", "UP_EXM", "R WRIST AP"])
def test_body_parts_that_may_show_a_wrist(part: str) -> None:
    assert decode(samples.dicom(BodyPartExamined=part), CONFIG).gray.size


def test_hands_are_refused_where_the_archive_has_wrists_of_their_own() -> None:
    """A hand may show its wrist, and many devices call every wrist HAND: by default the detector decides."""
    config = DecodeConfig(body_parts=".*WRIST.*")
    assert _reject(samples.dicom(BodyPartExamined="HAND"), config).code == ErrorCode.NOT_WRIST
    assert decode(samples.dicom(BodyPartExamined="HAND"), CONFIG).gray.size


@pytest.mark.parametrize("spacing", [None, "", "0\\0", "NaN\\NaN", "1e400\\1", "-1\\-1", "none", "0.1", "\\\\\\"])
@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_no_pixel_depends_on_its_spacing(keyword: str, spacing: str | None) -> None:
    data = samples.dicom() if spacing is None else samples.dicom(**{keyword: ["1.0625", "1.0625"]})
    data = data.replace(b"1.0625\\1.0625 ", (spacing or "").ljust(14).encode())
    assert (decode(data, CONFIG).gray == decode(samples.dicom(), CONFIG).gray).all()


@pytest.mark.parametrize(
    ("elements", "field", "value"),
    [
        ({"ViewPosition": "AP"}, "view", View.PA),
        ({"ViewPosition": "LL"}, "view", View.LATERAL),
        ({"ViewPosition": "OBL"}, "view", View.OBLIQUE),
        ({"ViewPosition": "??"}, "view", None),
        ({"ImageLaterality": None, "Laterality": "R"}, "laterality", Side.RIGHT),
        ({"ImageLaterality": "B"}, "laterality", None),
        ({"PatientAge": "018M"}, "age_years", 1.5),
        ({"PatientAge": None, "PatientBirthDate": "20140203"}, "age_years", pytest.approx(10.0, abs=0.01)),
        ({"StudyDate": ""}, "study_date", None),
        ({"PatientSex": ""}, "sex", None),
        ({"AccessionNumber": ""}, "accession", None),
    ],
)
def test_header_field(elements: dict[str, str], field: str, value: object) -> None:
    assert getattr(decode(samples.dicom(**elements), CONFIG).header, field) == value


# ---------------------------------------------------------------- files of others

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def test_every_file_that_pydicom_ships_is_an_image_or_a_code() -> None:
    codes: dict[str, int] = {}
    anything = DecodeConfig(modalities=("CR", "CT", "MR", "OT", "US", "RTDOSE"), min_side_px=8)
    for config in (CONFIG, anything):
        for file in sorted(PYDICOM_FILES.rglob("*")):
            if file.is_file():
                try:
                    image = decode(file.read_bytes(), config)
                    code = "good"
                    assert image.gray.shape == (image.stored_rows, image.stored_cols)
                except Reject as e:
                    code = e.code.value
                codes[code] = codes.get(code, 0) + 1
    assert codes["good"] >= 10
    assert {"colour_image", "multi_frame", "no_pixels", "unsupported_encoding", "unknown_format"} <= set(codes)
    assert ErrorCode.STAGE_FAILED not in codes


def test_real_radiographs(real_data: Path) -> None:
    files = sorted((real_data / "grazpedwri").glob("*.png"))
    assert len(files) == 6
    for file in files:
        image = decode(file.read_bytes(), CONFIG)
        assert image.gray.shape == cv2.imread(str(file), cv2.IMREAD_UNCHANGED).shape[:2]
        assert image.bits == (8 if file.name.startswith("5791") else 16)
        assert np.ptp(image.gray) > 200


def test_without_its_header_a_known_image_is_what_it_was_and_its_structure_is_still_checked() -> None:
    whole = decode(samples.dicom(), DecodeConfig())
    bare = decode(samples.dicom(BodyPartExamined="CHEST"), DecodeConfig(), whole.pixel_id, header=False)
    assert bare.header is None
    np.testing.assert_array_equal(bare.gray, whole.gray)
    with pytest.raises(Reject) as caught:
        decode(samples.dicom(BodyPartExamined="CHEST"), DecodeConfig(), whole.pixel_id)
    assert caught.value.code == ErrorCode.NOT_WRIST
    with pytest.raises(Reject) as caught:
        decode(samples.dicom(NumberOfFrames=2), DecodeConfig(), header=False)
    assert caught.value.code == ErrorCode.MULTI_FRAME
