"""Small radiographs of every container, made here."""

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate


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


def write(ds: Dataset, syntax: str = uid.ExplicitVRLittleEndian, frame: bytes | None = None) -> bytes:
    """The object as a file; `frame` is encapsulated as its one compressed frame."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3.4")
    if frame is not None:
        ds.PixelData = encapsulate([frame])
        ds["PixelData"].VR = "OB"
    out = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def dicom(**elements: Any) -> bytes:
    return write(dataset(pixels(12), **elements))


def j2k(stored: np.ndarray) -> bytes:
    """A lossless JPEG 2000 codestream."""
    out = BytesIO()
    Image.fromarray(stored).save(out, "JPEG2000", no_jp2=True)
    return out.getvalue()


def png(stored: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", stored)[1])


def jpeg(stored: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, 98])[1])


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(cols: int, rows: int) -> bytes:
    """A well-formed PNG that declares cols x rows and holds next to nothing."""
    header = struct.pack(">IIBBBBB", cols, rows, 16, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_header(cols: int, rows: int) -> bytes:
    """A JPEG whose frame header declares another size than its picture has."""
    data = bytearray(jpeg(pixels(8)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", rows, cols)
    return bytes(data)
