"""What a DICOM header says, read so that a malformed value is a silent one."""

import datetime
import re
from typing import Any

from pydicom.dataset import Dataset

from wristmir_ray.anatomy import Sex, Side, View
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.identifiers import held_values
from wristmir_ray.imaging.radiograph import Header

_SIDES = {"L": Side.LEFT, "LEFT": Side.LEFT, "R": Side.RIGHT, "RIGHT": Side.RIGHT}
_VIEWS = {
    **dict.fromkeys(("PA", "AP", "DP", "PD", "DPA", "PALMAR", "DORSOPALMAR"), View.PA),
    **dict.fromkeys(("LL", "RL", "LAT", "LATERAL", "ML", "LM", "RAD", "ULN"), View.LATERAL),
    **dict.fromkeys(("OBL", "OBLIQUE", "LLO", "RLO", "LPO", "RPO", "LAO", "RAO"), View.OBLIQUE),
}
"""ViewPosition's defined terms and the abbreviations that devices write; AP shows what PA shows."""
_VIEW_MEANINGS = (
    ("oblique", View.OBLIQUE),
    ("lateral", View.LATERAL),
    ("medio", View.LATERAL),
    ("postero-anterior", View.PA),
    ("antero-posterior", View.PA),
    ("dorso-palmar", View.PA),
    ("palmo-dorsal", View.PA),
)
_SEXES = {"F": Sex.FEMALE, "M": Sex.MALE, "O": Sex.OTHER}
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def text(ds: Dataset, keyword: str) -> str | None:
    """Return an element's first value as stripped text; None where it is absent, empty or unreadable."""
    try:
        value = ds.get(keyword)
        if value is not None and not isinstance(value, str) and hasattr(value, "__len__") and len(value):
            value = value[0] if isinstance(value, list) or type(value).__name__ == "MultiValue" else value
        out = str(value).strip("\0 ") if value is not None else ""
    except Exception:
        return None
    return out or None


def read_header(ds: Dataset) -> Header:
    """Return the header's facts; None for each that is absent or malformed."""
    study_date = _date(text(ds, "StudyDate"))
    return Header(
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        patient_id=text(ds, "PatientID"),
        accession=text(ds, "AccessionNumber"),
        laterality=_SIDES.get((text(ds, "ImageLaterality") or text(ds, "Laterality") or "").upper()),
        view=_view(ds),
        age_years=_age(text(ds, "PatientAge"), _date(text(ds, "PatientBirthDate")), study_date),
        sex=_SEXES.get((text(ds, "PatientSex") or "").upper()),
        study_date=study_date,
        modality=text(ds, "Modality"),
        body_part=text(ds, "BodyPartExamined"),
        held=held_values(ds),
    )


def shows_wrist(body_part: str | None, config: DecodeConfig) -> bool:
    """Return whether a wrist may be seen in this body part; true where none is named."""
    letters = re.sub(r"[^A-Z]", "", (body_part or "").upper())
    return not letters or config.body_parts.fullmatch(letters) is not None


def _view(ds: Dataset) -> View | None:
    position = re.sub(r"[^A-Z]", "", (text(ds, "ViewPosition") or "").upper())
    if position in _VIEWS:
        return _VIEWS[position]
    try:
        codes: Any = ds.get("ViewCodeSequence") or []
        meaning = (text(codes[0], "CodeMeaning") or "").lower() if len(codes) else ""
    except Exception:
        return None
    return next((view for words, view in _VIEW_MEANINGS if words in meaning), None)


def _date(value: str | None) -> datetime.date | None:
    try:
        return datetime.datetime.strptime((value or "").replace(".", ""), "%Y%m%d").date()
    except ValueError:
        return None


def _age(age: str | None, born: datetime.date | None, studied: datetime.date | None) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", (age or "").upper())
    if found:
        return int(found[1]) * _YEARS[found[2]]
    if born and studied and born <= studied:
        return (studied - born).days / 365.25
    return None
