"""DICOM objects: checks from the header, stored pixels through installed decoders, grey by the LUTs."""

import logging
import warnings
import zlib
from io import BytesIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder, pixel_array

from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.header import read_header, shows_wrist, text
from wristmir_ray.imaging.radiograph import Header, Radiograph
from wristmir_ray.imaging.raster import jpeg_size
from wristmir_ray.imaging.voi import render
from wristmir_ray.imaging.window import check_size

logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its warnings quote header values

_PREAMBLE = 128
_MAGIC = b"DICM"
_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_J2K_SIZE = b"\xff\x4f\xff\x51"
_HEADER_BYTES = 32 * 2**20
_JPEG = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
_J2K = {uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL}
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def has_preamble(data: bytes) -> bool:
    """Return whether the data carry DICOM's mark behind the preamble."""
    return data[_PREAMBLE : _PREAMBLE + 4] == _MAGIC


def may_lack_preamble(data: bytes) -> bool:
    """Return whether the data may be a DICOM dataset without preamble: it starts with group 0002 or 0008."""
    return len(data) > _PREAMBLE and data[:2] in _GROUPS and data[2:4] != b"\xff\xff"


def decode_bare_dicom(data: bytes, config: DecodeConfig) -> Radiograph:
    """Return the radiograph in a DICOM dataset without preamble; unknown_format where it does not parse."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(BytesIO(data), force=True)
            known = "SOPClassUID" in ds
        except Exception:
            known = False
        if not known:
            raise Reject(ErrorCode.UNKNOWN_FORMAT, "neither DICOM nor PNG nor JPEG")
        return _decode(ds, config)


def decode_dicom(data: bytes, config: DecodeConfig) -> Radiograph:
    """Return the radiograph in a DICOM object; see `decode.decode` for the codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote header values
        _check_deflated(data, config)
        return _decode(pydicom.dcmread(BytesIO(data)), config)


def _check_deflated(data: bytes, config: DecodeConfig) -> None:
    """Reject a deflated dataset that would inflate beyond what the largest allowed image needs."""
    file = BytesIO(data)
    file.seek(_PREAMBLE + len(_MAGIC))
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if text(meta, "TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflate.decompress(data[file.tell() :], 2 * config.max_pixels + _HEADER_BYTES)
    if inflate.unconsumed_tail:
        raise Reject(ErrorCode.IMAGE_TOO_LARGE, "the deflated dataset is larger than the largest allowed image")


def _decode(ds: Dataset, config: DecodeConfig) -> Radiograph:
    header = read_header(ds)
    _check_content(ds, header, config)
    rows, cols = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not rows or not cols:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the header declares no image size")
    check_size(rows, cols, config)
    bits = _stored_bits(ds)
    _check_encoding(ds, rows, cols)
    pixels = pixel_array(ds, raw=True)
    if pixels.shape != (rows, cols):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the pixels do not fit the header")
    stored = _within_bits(pixels, bits)
    gray = render(stored, bits, ds, config)
    return Radiograph(gray, rows, cols, bits, "dicom", stored, header)


def _check_content(ds: Dataset, header: Header, config: DecodeConfig) -> None:
    """Reject what is no single grey radiograph of a wrist, by the header alone."""
    if not any(name in ds for name in _PIXELS):
        raise Reject(ErrorCode.NO_PIXELS, "a DICOM object without an image")
    if header.modality and header.modality.upper() not in config.modalities:
        raise Reject(ErrorCode.NOT_RADIOGRAPH, "the header names a modality that makes no radiograph")
    if not shows_wrist(header.body_part, config):
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


def _check_encoding(ds: Dataset, rows: int, cols: int) -> None:
    """Reject a transfer syntax that nothing installed decodes, and a compressed frame of another size.

    A native decoder allocates what the frame's own header declares, so that one is read here.
    """
    syntax = ds.file_meta.get("TransferSyntaxUID") if hasattr(ds, "file_meta") else None
    if syntax is None:
        implicit, little = ds.original_encoding
        syntax = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        syntax = syntax if little is not False else uid.ExplicitVRBigEndian
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax
    try:
        available = get_decoder(uid.UID(syntax)).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"no installed decoder reads transfer syntax {_name(syntax)}")
    if syntax not in _JPEG | _J2K:
        return
    frame = next(generate_frames(ds.PixelData, number_of_frames=1))
    if syntax in _JPEG:
        size, _ = jpeg_size(frame)
        if size.bits != 8:
            raise Reject(ErrorCode.UNSUPPORTED_ENCODING, f"no installed decoder reads a JPEG of {size.bits} bits")
        found = (size.rows, size.cols)
    else:
        found = _j2k_size(frame)
    if found != (rows, cols):
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the compressed frame's size is not the header's")


def _name(syntax: str) -> str:
    """Return a registered transfer syntax's name: any other text is the file's and is not quoted."""
    name = uid.UID(syntax).name
    return name if name != syntax else "(unregistered)"


def _j2k_size(frame: bytes) -> tuple[int, int]:
    at = frame.find(_J2K_SIZE, 0, 4096)
    if at < 0 or len(frame) < at + 24:
        raise Reject(ErrorCode.CORRUPT_IMAGE, "the JPEG 2000 frame has no size marker")
    cols, rows, left, top = (int.from_bytes(frame[i : i + 4], "big") for i in range(at + 8, at + 24, 4))
    return rows - top, cols - left


def _within_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Return the pixels without what old devices keep in the unused high bits (overlays)."""
    unused = pixels.dtype.itemsize * 8 - bits
    if not unused:
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray((pixels << unused) >> unused)
