"""The de-identification gate: what a header may hold, and that no message tells it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.unit.imaging import samples
from wristmir_ray.errors import ErrorCode, Reject
from wristmir_ray.imaging import deid
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig, Identifier
from wristmir_ray.imaging.decode import decode

GATE = DeidConfig()


def _reject(gate: DeidConfig = GATE, **elements: Any) -> Reject | None:
    image = decode(samples.dicom(**elements), DecodeConfig())
    try:
        deid.check(image, gate)
    except Reject as e:
        return e
    return None


IDENTIFYING = {
    "PatientName": "Musterfrau^Erika",
    "OtherPatientNames": "Musterfrau-Beispiel^Erika",
    "PatientBirthName": "Beispiel",
    "PatientMotherBirthName": "Exempla^Anna",
    "ResponsiblePerson": "Musterfrau^Max",
    "ReferringPhysicianName": "Dr. Testarossa",
    "OperatorsName": "Fictley^Jo",
    "PerformingPhysicianName": "Nimmermehr^Otto",
    "NameOfPhysiciansReadingStudy": "Wu^Li",
    "PatientBirthDate": "20090312",
    "PatientAddress": "Beispielgasse 7, 1234 Nirgendheim",
    "PatientTelephoneNumbers": "+43 1 234567",
    "ReferringPhysicianTelephoneNumbers": "234567",
    "OtherPatientIDs": "4711/2009",
    "AdmissionID": "F-0815",
    "PatientComments": "mother called, see letter",
    "AdditionalPatientHistory": "fell from pony",
    "ImageComments": "repeat of yesterday",
    "InstitutionAddress": "Musterstadt",
}


@pytest.mark.parametrize("keyword", IDENTIFYING)
def test_direct_identifiers_quarantine_and_are_named_not_told(keyword: str) -> None:
    found = _reject(**{keyword: IDENTIFYING[keyword]})
    assert found is not None
    assert (found.code, found.message) == (ErrorCode.IDENTIFIED, f"the header holds {keyword}")


def test_several_are_named_once_each() -> None:
    found = _reject(PatientName="Musterfrau^Erika", OperatorsName=["Fictley^Jo", "Wu^Li"])
    assert found is not None
    assert set(found.message.removeprefix("the header holds ").split(", ")) == {"PatientName", "OperatorsName"}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ANON^ANON",
        "P-7",
        "P^7",
        "Anonymous^Patient",
        "PHANTOM^000123",
        "DeIdentified^X",
        "TCGA-AB-1234",
        "LIDC^0001",
        "Subject_12",
        "Test^Patient",
        "Case^Seven",
        "XXX^XX",
        "EK",
        "REMOVED",
        "n/a",
    ],
)
@pytest.mark.parametrize("keyword", ["PatientName", "OperatorsName"])
def test_names_that_de_identification_leaves(keyword: str, name: str) -> None:
    assert _reject(**{keyword: name}) is None


@pytest.mark.parametrize("name", ["Casey^John", "Testino^Maria", "Nole^Ann", "MUSTERFRAU", "Müßig Jürgen", "Wu, Li"])
def test_names_that_only_begin_like_a_dummy_are_names(name: str) -> None:
    found = _reject(PatientName=name, SpecificCharacterSet="ISO_IR 192")
    assert found is not None
    assert found.code is ErrorCode.IDENTIFIED


def test_a_pseudonym_that_is_the_patients_id_is_no_name() -> None:
    assert _reject(PatientName="Quastenfloh", PatientID="Quastenfloh") is None


@pytest.mark.parametrize("day", ["20090101", "2009", "19000101", ""])
def test_a_year_of_birth_passes(day: str) -> None:
    assert _reject(PatientBirthDate=day) is None


@pytest.mark.parametrize("value", ["NONE", "removed", "-", "xxx", "***", "n/a", "Anonymized by gateway"])
def test_dummy_comments_pass(value: str) -> None:
    assert _reject(PatientComments=value, InstitutionAddress=value, OtherPatientIDs=value) is None


def test_the_hospitals_name_counts_when_asked_for() -> None:
    assert _reject(InstitutionName="Kinderklinik") is None
    found = _reject(DeidConfig(quarantine=(Identifier.INSTITUTION_NAME,)), InstitutionName="Kinderklinik")
    assert found is not None


def test_kinds_and_keywords_are_chosen() -> None:
    assert _reject(DeidConfig(quarantine=(Identifier.PATIENT_NAME,)), OperatorsName="Fictley^Jo") is None
    assert _reject(DeidConfig(ignore=("ImageComments",)), ImageComments="AP, wrist") is None
    assert _reject(DeidConfig(quarantine=()), **IDENTIFYING) is None


def test_private_groups_are_named_by_the_archive() -> None:
    ds = samples.dataset(samples.pixels(12))
    ds.private_block(0x0009, "A VENDOR", create=True).add_new(0x01, "LO", "Musterfrau Erika")
    image = decode(samples.write(ds), DecodeConfig())
    deid.check(image, GATE)
    with pytest.raises(Reject, match="the header holds private group 0009") as caught:
        deid.check(image, DeidConfig(private_groups=("0009",)))
    assert caught.value.code is ErrorCode.IDENTIFIED
    deid.check(image, DeidConfig(private_groups=("000b",)))


@pytest.mark.parametrize("value", ["YES", "NO", None])
def test_burned_in_annotation(value: str | None) -> None:
    found = _reject(**({"BurnedInAnnotation": value} if value else {}))
    assert (found.code if found else None) == (ErrorCode.BURNED_IN_TEXT if value == "YES" else None)


def test_a_copy_of_the_old_header_deep_inside_is_found() -> None:
    old, holder = Dataset(), Dataset()
    old.PatientName = "Musterfrau^Erika"
    holder.ModifiedAttributesSequence = Sequence([old])
    found = _reject(OriginalAttributesSequence=Sequence([holder]))
    assert found is not None
    assert found.message == "the header holds PatientName"


def test_ids_in_a_sequence() -> None:
    other = Dataset()
    other.PatientID, other.TypeOfPatientID = "4711-X", "TEXT"
    found = _reject(OtherPatientIDsSequence=Sequence([other]))
    assert found is not None
    other.PatientID = "P-7"  # the pseudonym again
    assert _reject(OtherPatientIDsSequence=Sequence([other])) is None


@pytest.mark.parametrize("value", ["12. March", "2009031", "999999999", "20090300-"])
def test_a_date_that_is_none_is_no_birth_date(value: str) -> None:
    assert _reject(PatientBirthDate=value) is None


def test_no_representation_shows_a_value() -> None:
    header = decode(samples.dicom(PatientName="Musterfrau^Erika"), DecodeConfig()).header
    assert header is not None
    assert [h.keyword for h in header.held] == ["PatientName"]
    assert "Musterfrau" not in repr(header)


def test_text_in_pixels_says_where_not_what() -> None:
    from tests.overlays import fonts, text

    pixels = np.full((200, 300), 800, np.uint16)
    mask = text.block(["MUSTERFRAU, ERIKA"], fonts.DEVELOPED["DejaVu Sans"], 12)
    pixels[20 : 20 + mask.shape[0], 30 : 30 + mask.shape[1]][mask > 128] = 4000
    image = decode(samples.png(pixels << 4), DecodeConfig())
    with pytest.raises(Reject) as caught:
        deid.check(image, GATE)
    assert caught.value.code is ErrorCode.BURNED_IN_TEXT
    assert caught.value.message.startswith("lines of text at (x0, y0, x1, y1) px: (")
    assert "MUSTER" not in caught.value.message
    deid.check(image, DeidConfig(burned_in_text=False))
    deid.check(image, DeidConfig(min_score=1))


def test_real_radiographs_pass(real_data: Path) -> None:
    for file in sorted((real_data / "grazpedwri").glob("*.png")):
        deid.check(decode(file.read_bytes(), DecodeConfig()), GATE)
