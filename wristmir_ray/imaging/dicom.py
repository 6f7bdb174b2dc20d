"""DICOM objects: checks from the header, stored pixels through the frame decoders, grey by the LUTs."""

import logging
import warnings
import zlib
from io import BytesIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.frames import decode_frame, is_compressed
from wristmir_ray.imaging.header import read_header as header_of
from wristmir_ray.imaging.header import shows_wrist, text
from wristmir_ray.imaging.radiograph import Header, Radiograph
from wristmir_ray.imaging.voi import render
from wristmir_ray.imaging.window import check_size

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its warnings quote header values

_PREAMBLE = 128
_MAGIC = b"DICM"
_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_UNDEFINED = 0xFFFFFFFF
_HEADER_BYTES = 32 * 2**20
_NATIVE = {
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def has_preamble(data: bytes) -> bool:
    """Return whether the data carry DICOM's mark behind the preamble."""
    return data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC


def may_lack_preamble(data: bytes) -> bool:
    """Return whether the data may be a DICOM dataset without preamble: it starts with group 0002 or 0008."""
    return len(data) > _PREAMBLE and data[:2] in _GROUPS and data[2:4] != b"\xff\xff"


def decode_bare_dicom(data: bytes, config: DecodeConfig, read_header: bool = True) -> Radiograph:
    """Return the radiograph in a DICOM dataset without preamble; unknown_format where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds, cut = _parse(data)
            known = "SOPClassUID" in ds
        except Exception:
            known = False
        if not known:
            raise Reject(ErrorCode.UNKNOWN_FORMAT, "neither DICOM nor PNG nor JPEG")
        return _decode(ds, cut, config, read_header)


def decode_dicom(data: bytes, config: DecodeConfig, read_header: bool = True) -> Radiograph:
    """Return the radiograph in a DICOM object; see `decode.decode` for the codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote header values
        _check_deflated(data, config)
        return _decode(*_parse(data), config, read_header)


def _parse(data: bytes) -> tuple[Dataset, bool]:
    """Return a dataset, and whether it ends inside an element, which pydicom only warns of."""
    file = BytesIO(data)
    ds = pydicom.dcmread(file, force=True)
    if not len(ds):
        return ds, True
    last = ds.get_item(max(ds.keys()))
    short = isinstance(last, RawDataElement) and len(last.value or b"") < last.length < _UNDEFINED
    return ds, short or file.tell() < len(data)


def _check_deflated(data: bytes, config: DecodeConfig) -> None:
    """Reject a deflated dataset that would inflate beyond what the largest allowed image needs."""
    if uid.DeflatedExplicitVRLittleEndian.encode() not in data:
        return
    file = BytesIO(data)
    file.seek(_PREAMBLE + len(_MAGIC))
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if text(meta, "TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflate.decompress(data[file.tell() :], 2 * config.max_pixels + _HEADER_BYTES)
    if inflate.unconsumed_tail:
        raise Reject(ErrorCode.IMAGE_TOO_LARGE, "the deflated dataset is larger than the largest allowed image")


def _decode(ds: Dataset, cut: bool, config: DecodeConfig, read_header: bool) -> Radiograph:
    if cut and not any(name in ds for name in _PIXELS):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the file ends before its image")
    header = header_of(ds) if read_header else None
    _check_content(ds, header, config)
    rows, cols = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not cols:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the header declares no image size")
    check_size(rows, cols, config)
    bits = _stored_bits(ds)
    pixels = _stored_pixels(ds, rows, cols, bits)
    if pixels.shape != (rows, cols):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the pixels do not fit the header")
    stored = _within_bits(pixels, bits)
    gray = render(stored, bits, ds, config)
    return Radiograph(gray, rows, cols, bits, "dicom", stored, header)


def _check_content(ds: Dataset, header: Header | None, config: DecodeConfig) -> None:
    """Reject what is no single grey radiograph of a wrist, by the header alone; without one, what is no grey image."""
    if not any(name in ds for name in _PIXELS):
        raise Reject(ErrorCode.NO_PIXELS, "a DICOM object without an image")
    if header and header.modality and header.modality.upper() not in config.modalities:
        raise Reject(ErrorCode.NOT_RADIOGRAPH, "the header names a modality that makes no radiograph")
    if header and not shows_wrist(header.body_part, config):
        raise Reject(ErrorCode.NOT_WRIST, "the header names another body part")
    if int(text(ds, "NumberOfFrames") or 1) > 1:
        raise Reject(ErrorCode.MULTI_FRAME, "more than one frame")
    samples, photometric = int(ds.get("SamplesPerPixel") or 1), text(ds, "PhotometricInterpretation")
    if samples > 1 or photometric not in {"MONOCHROME1", "MONOCHROME2", None}:
        raise Reject(ErrorCode.COLOUR_IMAGE, "not a MONOCHROME image")


def _stored_bits(ds: Dataset) -> int:
    allocated, bits = int(ds.BitsAllocated), int(ds.BitsStored)
    high = int(ds.get("HighBit", bits - 1))
    if "PixelData" not in ds or allocated not in {8, 16} or not 1 <= bits <= allocated or high != bits - 1:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, "samples must be integers of at most 16 bits, low bits first")
    return bits


def _stored_pixels(ds: Dataset, rows: int, cols: int, bits: int) -> np.ndarray:
    """Return (rows, cols) as stored; a transfer syntax that is not read here is unsupported_encoding."""
    syntax = _transfer_syntax(ds)
    stored = np.dtype(f"{'i' if int(ds.PixelRepresentation) else 'u'}{int(ds.BitsAllocated) // 8}")
    if is_compressed(syntax):
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        return decode_frame(frame, syntax, rows, cols, stored, bits)
    if syntax not in _NATIVE:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"nothing here reads transfer syntax {_name(syntax)}")
    if ds["PixelData"].is_undefined_length:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "compressed pixels in a transfer syntax of plain ones")
    if len(ds.PixelData) >= 2 * rows * cols * stored.itemsize:  # some devices pad, none by a second image
        raise Reject(ErrorCode.CORRUPT_IMAGE, "more pixels than the header declares")
    plain = pixel_array(ds, raw=True, view_only=True, correct_unused_bits=False)  # no copy: `_within_bits` makes one
    return np.asarray(plain.astype(stored, copy=False))


def _transfer_syntax(ds: Dataset) -> uid.UID:
    """Return the declared transfer syntax; where none is, the one that the dataset was parsed by."""
    if not hasattr(ds, "file_meta") or "TransferSyntaxUID" not in ds.file_meta:
        implicit, little = ds.original_encoding
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax if little is not False else uid.ExplicitVRBigEndian
    return uid.UID(ds.file_meta.TransferSyntaxUID)


def _name(syntax: str) -> str:
    """Return a registered transfer syntax's name: any other text is the file's and is not quoted."""
    name = uid.UID(syntax).name
    return name if name != syntax else "(unregistered)"


def _within_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return the pixels without what old devices keep in the unused high bits (overlays)."""
    unused = pixels.dtype.itemsize * 8 - bits
    if unused:
        pixels = np.left_shift(pixels, unused)
        pixels >>= unused
    return np.ascontiguousarray(pixels)
