"""What decoding gives."""

import datetime
from dataclasses import dataclass

import numpy as np

from wristmir_ray import keys
from wristmir_ray.anatomy import Sex, Side, View
from wristmir_ray.imaging.identifiers import Held


@dataclass(frozen=True, slots=True)
class Header:
    """What a DICOM header says; None where it is silent or unreadable. Holds identifiers: never log it."""

    sop_instance_uid: str | None = None
    patient_id: str | None = None
    accession: str | None = None
    laterality: Side | None = None
    view: View | None = None
    age_years: float | None = None
    sex: Sex | None = None
    study_date: datetime.date | None = None
    modality: str | None = None
    body_part: str | None = None
    held: tuple[Held, ...] = ()
    """What attributes of the de-identification profile hold: the gate judges it (`deid`)."""


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One decoded image."""

    gray: np.ndarray
    """uint8 (stored_rows, stored_cols): windowed, bone bright, never rotated."""
    stored_rows: int
    stored_cols: int
    bits: int
    """Bits stored a pixel."""
    format: str
    """dicom, png or jpeg."""
    stored: np.ndarray
    """(stored_rows, stored_cols): the pixels before any look-up table."""
    header: Header | None = None
    """DICOM alone has one."""

    @property
    def pixel_id(self) -> str:
        """Hash of the stored pixels."""
        return keys.pixel_id(self.stored)
