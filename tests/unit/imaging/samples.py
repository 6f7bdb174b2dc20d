"""Small radiographs of every container, made here."""

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import cv2
import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder

LOSSLESS = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)


def pixels(bits: int = 12, rows: int = 48, cols: int = 40, signed: bool = False) -> np.ndarray:
    """A smooth picture that uses the whole range of `bits`, with both extremes in it."""
    y, x = np.mgrid[:rows, :cols]
    wave = np.sin(y / 9) + np.cos(x / 7) + 0.3 * np.sin((x + y) / 3)
    unit = (wave - wave.min()) / (wave.max() - wave.min())
    low = -(1 << (bits - 1)) if signed else 0
    kind = ("i" if signed else "u") + ("1" if bits <= 8 else "2")
    return np.rint(unit * ((1 << bits) - 1) + low).astype(kind)


def dataset(stored: np.ndarray, bits: int = 12, **elements: Any) -> Dataset:
    """A DX wrist; `elements` replace or add, None removes."""
    ds = Dataset()
    ds.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition, ds.ImageLaterality = "DX", "WRIST", "PA", "L"
    ds.PatientName, ds.PatientID, ds.PatientSex, ds.PatientAge = "ANON", "P-7", "F", "009Y"
    ds.AccessionNumber, ds.StudyDate = "A-1", "20240203"
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = stored.dtype.itemsize * 8, bits, bits - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 else "OB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some values are wrong on purpose
        for name, value in elements.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)
    return ds


def write(ds: Dataset, syntax: str = uid.ExplicitVRLittleEndian, packed: bytes | None = None) -> bytes:
    """The object as a file; `packed` is encapsulated as its one compressed frame."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4")
    if packed is not None:
        ds.PixelData = encapsulate([packed])
        ds["PixelData"].VR = "OB"
    out = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def dicom(**elements: Any) -> bytes:
    return write(dataset(pixels(12), **elements))


def frame(stored: np.ndarray, syntax: str, bits: int = 12) -> bytes:
    """One frame of a compressed transfer syntax; lossy ones at high quality.

    Only JPEG 2000 knows signed samples: all others code the bit pattern.
    """
    pattern = stored.view(f"u{stored.itemsize}") & ((1 << bits) - 1)
    if syntax == uid.RLELossless:
        rows, cols = stored.shape
        layout = {"rows": rows, "columns": cols, "samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"}
        depth = {"bits_allocated": 8 * stored.itemsize, "bits_stored": bits, "pixel_representation": 0}
        return bytes(RLELosslessEncoder.encode(pattern, number_of_frames=1, **layout, **depth))
    match syntax:
        case uid.JPEGBaseline8Bit | uid.JPEGExtended12Bit:
            return bytes(imagecodecs.jpeg8_encode(pattern, 98, bitspersample=bits))
        case uid.JPEGLossless | uid.JPEGLosslessSV1:
            predictor = 1 if syntax == uid.JPEGLosslessSV1 else 6
            return bytes(imagecodecs.jpeg8_encode(pattern, lossless=True, predictor=predictor, bitspersample=bits))
        case uid.JPEGLSLossless | uid.JPEGLSNearLossless:
            return bytes(imagecodecs.jpegls_encode(pattern, 2 * (syntax == uid.JPEGLSNearLossless)))
        case uid.JPEG2000Lossless:
            return bytes(imagecodecs.jpeg2k_encode(stored, codecformat="J2K", reversible=True, bitspersample=bits))
        case uid.JPEG2000:
            return bytes(imagecodecs.jpeg2k_encode(stored, 90, codecformat="J2K", reversible=False, bitspersample=bits))
        case uid.HTJ2KLossless | uid.HTJ2KLosslessRPCL | uid.HTJ2K:
            return bytes(imagecodecs.htj2k_encode(pattern, None if syntax != uid.HTJ2K else 0.00002))
    raise ValueError(syntax)


def compressed(stored: np.ndarray, syntax: str, bits: int = 12, **elements: Any) -> bytes:
    """A DICOM object whose one frame is compressed."""
    return write(dataset(stored, bits, **elements), syntax, frame(stored, syntax, bits))


def resized(packed: bytes, rows: int, cols: int) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 stream whose own header declares another size than its picture has."""
    out = bytearray(packed)
    if packed.startswith(b"\xff\x4f"):
        out[8:16] = out[24:32] = struct.pack(">II", cols, rows)
        return bytes(out)
    at = next(packed.index(bytes((0xFF, sof))) for sof in (0xC0, 0xC1, 0xC3, 0xF7) if bytes((0xFF, sof, 0)) in packed)
    out[at + 5 : at + 9] = struct.pack(">HH", rows, cols)
    return bytes(out)


def declared(data: bytes, syntax: str) -> bytes:
    """A DICOM file whose meta header names another transfer syntax; nothing else is changed."""
    at = data.index(struct.pack("<HH", 0x0002, 0x0010))
    old = struct.unpack_from("<H", data, at + 6)[0]
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    group = struct.unpack_from("<I", data, 140)[0] + len(value) - old
    head = data[:140] + struct.pack("<I", group) + data[144 : at + 6]
    return head + struct.pack("<H", len(value)) + value + data[at + 8 + old :]


def png(stored: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", stored)[1])


def jpeg(stored: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 98])[1])


def progressive_jpeg(stored: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 98, cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(cols: int, rows: int) -> bytes:
    """A well-formed PNG that declares cols x rows and holds next to nothing."""
    header = struct.pack(">IIBBBBB", cols, rows, 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_header(cols: int, rows: int) -> bytes:
    """A JPEG whose frame header declares another size than its picture has."""
    return resized(jpeg(pixels(8)), rows, cols)
