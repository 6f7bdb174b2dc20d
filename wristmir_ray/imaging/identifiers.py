"""Attributes of a DICOM header that hold direct identifiers, after the Basic Profile (PS3.15 Annex E).

The profile's Table E.1-1 removes, empties or replaces some 400 attributes. Listed here are those of
them that name or locate a person by themselves; dates of the exam, devices, UIDs and descriptions,
which identify only together with other knowledge, are not. Every sequence is looked into: a copy of
the old header may lie in OriginalAttributesSequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset

from wristmir_ray.imaging.config import Identifier

_DEPTH = 8
_RESERVATIONS = range(0x10, 0x100)
"""Element numbers by which a private group says whose it is."""

KEYWORDS: dict[Identifier, tuple[str, ...]] = {
    Identifier.PATIENT_NAME: ("PatientName", "OtherPatientNames", "PatientBirthName"),
    Identifier.RELATIVE: ("PatientMotherBirthName", "ResponsiblePerson"),
    Identifier.STAFF: ("PersonIdentificationCodeSequence",),
    Identifier.BIRTH_DATE: ("PatientBirthDate",),
    Identifier.CONTACT: (
        "PatientAddress",
        "PatientTelephoneNumbers",
        "PatientTelecomInformation",
        "PersonAddress",
        "PersonTelephoneNumbers",
        "PersonTelecomInformation",
        "ReferringPhysicianAddress",
        "ReferringPhysicianTelephoneNumbers",
        "OrderCallbackPhoneNumber",
        "OrderCallbackTelecomInformation",
    ),
    Identifier.OTHER_ID: (
        "OtherPatientIDs",
        "OtherPatientIDsSequence",
        "AdmissionID",
        "InsurancePlanIdentification",
        "MedicalRecordLocator",
    ),
    Identifier.COMMENT: (
        "PatientComments",
        "AdditionalPatientHistory",
        "IdentifyingComments",
        "VisitComments",
        "ImageComments",
        "AcquisitionComments",
        "RequestedProcedureComments",
        "ImagingServiceRequestComments",
        "CommentsOnThePerformedProcedureStep",
        "CommentsOnTheScheduledProcedureStep",
        "TextComments",
    ),
    Identifier.INSTITUTION_ADDRESS: ("InstitutionAddress",),
    Identifier.INSTITUTION_NAME: ("InstitutionName", "InstitutionalDepartmentName", "ResponsibleOrganization"),
    Identifier.BURNED_IN: ("BurnedInAnnotation",),
}
"""Every other attribute of the type PN (person's name) is STAFF."""


@dataclass(frozen=True, slots=True)
class Held:
    """One value of an attribute of the profile. The value is never to be shown."""

    kind: Identifier
    keyword: str
    value: str = field(repr=False)


def _tags() -> dict[int, tuple[Identifier, str]]:
    kinds = {
        tag: (Identifier.STAFF, keyword)
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if vr == "PN" and keyword
    }
    for kind, keywords in KEYWORDS.items():
        for keyword in keywords:
            tag = tag_for_keyword(keyword)
            if tag is not None:
                kinds[tag] = (kind, keyword)
    return kinds


_TAGS = _tags()


def held_values(ds: Dataset) -> tuple[Held, ...]:
    """Return what the profile's attributes hold, at any depth; of private groups their numbers alone."""
    return tuple(dict.fromkeys(_walk(ds, 0)))


def _walk(ds: Dataset, depth: int) -> Iterator[Held]:
    for tag in list(ds.keys()):
        kind, keyword = _TAGS.get(int(tag), (None, ""))
        if tag.is_private:
            if tag.element not in _RESERVATIONS and _is_filled(ds, tag):
                yield Held(Identifier.PRIVATE, f"private group {tag.group:04X}", "")
        elif kind is not None:
            yield from (Held(kind, keyword, value) for value in _values(ds, tag))
        elif depth < _DEPTH and _may_nest(ds, tag):
            for inner in _items(ds, tag):
                yield from _walk(inner, depth + 1)


def _is_filled(ds: Dataset, tag: int) -> bool:
    try:
        return bool(ds.get_item(tag).value)
    except Exception:
        return True


def _may_nest(ds: Dataset, tag: int) -> bool:
    vr = ds.get_item(tag).VR or DicomDictionary.get(int(tag), ("",))[0]
    return bool(vr == "SQ")


def _items(ds: Dataset, tag: int) -> list[Dataset]:
    """Return a sequence's items; none where it does not parse."""
    try:
        value = ds[tag].value
    except Exception:
        return []
    return list(value) if value is not None and not isinstance(value, (str, bytes)) else []


def _values(ds: Dataset, tag: int) -> list[str]:
    """Return an attribute's values as stripped text; of a sequence the texts in it; [] where it does not parse."""
    try:
        element = ds[tag]
        if element.VR == "SQ":
            found = [str(e.value) for item in element.value for e in item.iterall() if e.VR not in {"SQ", "UI", "CS"}]
        else:
            value = element.value
            found = [str(v) for v in ([*value] if type(value).__name__ == "MultiValue" else [value])]
    except Exception:
        return []
    texts = (text.strip("\0 \t\r\n") for text in found if text != "None")
    return [text for text in texts if text]
