"""12-bit pixels to files: uncompressed DICOM and 16-bit PNG."""

import io

import cv2
import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from wristmir_ray import keys
from wristmir_ray.anatomy import Sex
from wristmir_ray.phantom.case import Case
from wristmir_ray.phantom.render import BITS, FULL

_SEX = {Sex.FEMALE: "F", Sex.MALE: "M", Sex.OTHER: "O"}


def patient_name(case: Case) -> str:
    """Return the archive's patient id, e.g. PH000123."""
    return f"PH{case.patient:06d}"


def accession(case: Case) -> str:
    """Return the exam's accession number, e.g. PHA0000123."""
    return f"PHA{case.index:07d}"


def encode_png16(pixels: np.ndarray) -> bytes:
    """Return a 16-bit grey PNG; the 12 bits become the high ones, so that white is near 65535."""
    done, buffer = cv2.imencode(".png", pixels << (16 - BITS))
    if not done:
        raise ValueError("not an image that PNG can hold")
    return bytes(buffer)


def encode_dicom(pixels: np.ndarray, case: Case, seed: int, inverted: bool) -> bytes:
    """Return a Digital X-Ray object, explicit VR little endian, uncompressed.

    Args:
        pixels: uint16 (rows, cols) of 12 bits, bright bone.
        case: whose header it gets; no patient name.
        seed: of the archive: instance UIDs are a hash of it and the case's index.
        inverted: MONOCHROME1 with inverted stored values: it looks the same.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = _uid("instance", seed, case.index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation", 0, 0)
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    _describe(ds, case, seed)
    stored = FULL - pixels if inverted else pixels
    low, high = np.percentile(stored[::4, ::4], (0.5, 99.5))
    ds.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    ds.WindowCenter, ds.WindowWidth = round(float(low + high) / 2), max(round(float(high - low)), 2)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 16, BITS, BITS - 1
    ds.PixelRepresentation = 0
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = np.ascontiguousarray(stored, "<u2").tobytes()
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _describe(ds: FileDataset, case: Case, seed: int) -> None:
    """Fill patient, study and acquisition."""
    months = int(case.age_years * 12)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = _uid("study", seed, case.index)
    ds.SeriesInstanceUID = _uid("series", seed, case.index)
    ds.StudyDate = ds.ContentDate = case.study_date.strftime("%Y%m%d")
    ds.StudyTime = ds.ContentTime = "120000"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "", patient_name(case), ""
    ds.PatientSex = _SEX[case.sex]
    ds.PatientAge = f"{months:03d}M" if months < 24 else f"{months // 12:03d}Y"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = accession(case), str(case.index), ""
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "WRIST", "PA"
    ds.ImageLaterality = case.side.value[0].upper()
    ds.PresentationIntentType, ds.ImageType = "FOR PRESENTATION", ["ORIGINAL", "PRIMARY", ""]
    ds.SeriesNumber, ds.InstanceNumber, ds.BurnedInAnnotation = 1, 1, "NO"
    ds.Manufacturer = "wristmir_ray phantom"
    ds.ImagerPixelSpacing = [0.144, 0.144]
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1
    ds.PatientOrientation = ["L", "F"]


def _uid(kind: str, seed: int, index: int) -> str:
    return f"2.25.{int(keys.digest('phantom', kind, str(seed), str(index)), 16)}"
