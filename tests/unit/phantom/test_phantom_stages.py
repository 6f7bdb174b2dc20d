"""Files and rows: same bytes whatever the batches, formats that give the same pixels back."""

import cv2
import numpy as np
import pyarrow as pa
import pydicom
import pytest

from tests.unit.phantom.samples import case
from wristmir_ray.anatomy import Presence, Side, View
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging import deid
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.phantom import archive, formats
from wristmir_ray.phantom.case import BoneFinding, Case
from wristmir_ray.phantom.config import PhantomConfig
from wristmir_ray.phantom.population import patients
from wristmir_ray.phantom.render import FULL, render
from wristmir_ray.phantom.reports import ReportText
from wristmir_ray.phantom.scene import build_scene
from wristmir_ray.phantom.stages import draw_exams, write_sealed

NAMES = ("patient", "first_index", "exams")


def _write(case: Case, bank: str, rng: np.random.Generator) -> ReportText:
    told = tuple(BoneFinding(f.region, Presence.PRESENT) for f in case.findings)
    return ReportText(f"{bank} {case.index} {rng.integers(1000)}", told)


def _rows(config: PhantomConfig) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(NAMES, p, strict=True)) for p in patients(config.seed, config.exams)])


def test_bytes_do_not_depend_on_batches_or_order() -> None:
    config = PhantomConfig(exams=7, seed=3)
    rows = _rows(config)
    whole = draw_exams(rows, config=config, write=_write)
    backwards = [draw_exams(rows.slice(i, 1), config=config, write=_write) for i in reversed(range(rows.num_rows))]
    assert pa.concat_tables(backwards).sort_by("file").equals(whole.sort_by("file"))
    assert whole.num_rows == config.exams
    other = draw_exams(_rows(config.with_(seed=4)), config=config.with_(seed=4), write=_write)
    assert not set(other["image"].to_pylist()) & set(whole["image"].to_pylist())


def test_shares_of_formats_are_kept() -> None:
    config = PhantomConfig(exams=3, png_share=1.0)
    assert set(draw_exams(_rows(config), config=config, write=_write)["format"].to_pylist()) == {"png"}
    config = PhantomConfig(exams=3, png_share=0.0, monochrome1_share=1.0)
    drawn = draw_exams(_rows(config), config=config, write=_write)
    assert set(drawn["format"].to_pylist()) == {"monochrome1"}
    assert all(f.endswith(".dcm") for f in drawn["file"].to_pylist())


def test_png_gives_the_pixels_back() -> None:
    pixels = render(build_scene(case(), 0), 0)
    read = cv2.imdecode(np.frombuffer(formats.encode_png16(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read >> 4, pixels)


@pytest.mark.parametrize("inverted", [False, True])
def test_dicom_gives_the_pixels_back(inverted: bool) -> None:
    pixels = render(build_scene(case(), 0), 0)
    data = formats.encode_dicom(pixels, case(), 0, inverted)
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data))
    stored = ds.pixel_array
    np.testing.assert_array_equal(FULL - stored if inverted else stored, pixels)
    assert ds.PhotometricInterpretation == ("MONOCHROME1" if inverted else "MONOCHROME2")
    assert (ds.BitsStored, ds.Modality, ds.BodyPartExamined) == (12, "DX", "WRIST")
    assert data == formats.encode_dicom(pixels, case(), 0, inverted)


@pytest.mark.parametrize("age", [1.2, 11.7])
def test_the_decoder_reads_the_header_and_sees_bright_bone(age: float) -> None:
    child = case(age_years=age, side=Side.RIGHT)
    pixels = render(build_scene(child, 0), 0)
    plain, turned = (decode(formats.encode_dicom(pixels, child, 0, i), DecodeConfig()) for i in (False, True))
    png = decode(formats.encode_png16(pixels), DecodeConfig())
    for shown in (plain, turned, png):
        assert np.corrcoef(shown.gray[::9, ::9].ravel(), pixels[::9, ::9].ravel())[0, 1] > 0.97
    assert np.abs(plain.gray.astype(int) - turned.gray).max() <= 2
    header = plain.header
    assert header
    assert (header.patient_id, header.accession) == ("PH000003", "PHA0000005")
    assert (header.laterality, header.view, header.sex, header.study_date) == (
        Side.RIGHT,
        View.PA,
        child.sex,
        child.study_date,
    )
    assert header.age_years == pytest.approx(age, abs=1.0)
    deid.check_header(header, DeidConfig())


def test_sealed_reports_are_their_own() -> None:
    sealed = write_sealed(PhantomConfig(sealed_reports=9), write=_write)
    assert sealed.schema == archive.SEALED.schema
    assert sealed.num_rows == 9
    assert all(t.startswith("sealed") for t in sealed["report"].to_pylist())
    assert write_sealed(PhantomConfig(sealed_reports=0), write=_write).num_rows == 0


@pytest.mark.parametrize("content", [None, "text", '{"run_id": "another"}'])
def test_what_stands_in_the_way_is_named(tmp_path, content: str | None) -> None:
    (tmp_path / ("stray.txt" if content is None else archive.MANIFEST)).write_text(content or "")
    with pytest.raises(ConfigError, match="choose another `out`"):
        archive.finished(str(tmp_path), "this")


def test_an_empty_or_missing_folder_is_free(tmp_path) -> None:
    assert archive.finished(str(tmp_path), "this") is None
    assert archive.finished(str(tmp_path / "new"), "this") is None
    with pytest.raises(ConfigError, match="S3"):
        archive.finished("s3://bucket/phantoms", "this")
