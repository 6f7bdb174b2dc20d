"""The ingest job on a real local Ray: every object ends as one row."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest

from jobs import ingest
from tests.unit.imaging import samples
from wristmir_ray import keys, storage
from wristmir_ray.ingest.config import GateConfig, IngestConfig, MetadataColumns, MetadataConfig, ReportsConfig
from wristmir_ray.ingest.pipeline import run
from wristmir_ray.schemas import EXAMS, REPORTS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

COLUMNS = MetadataColumns(
    file="file", patient_id="patient_id", accession="accession", laterality="laterality", view="view"
)
METADATA = """file,patient_id,accession,laterality,view
0.png,SECRET-P0,SECRET-A0,left,pa
1.png,SECRET-P0,SECRET-A0,right,pa
copy.png,SECRET-P0,SECRET-A0,left,pa
lateral.png,SECRET-P1,SECRET-A1,left,lateral
conflict.dcm,SECRET-P1,SECRET-A1,right,pa
"""
REPORT_TABLE = 'accession,report\nSECRET-A0,"Buckle fracture.\nNo more."\nSECRET-A1,Seen on a lateral view alone.\n'


def _archive(folder: Path) -> dict[str, str | None]:
    """Write an archive; return file name -> expected error."""
    picture = samples.pixels(16, 64, 56)
    files: dict[str, tuple[bytes, str | None]] = {
        "0.png": (samples.png(picture), None),
        "1.png": (samples.png(picture[:, ::-1]), None),
        "copy.png": (samples.png(picture), "duplicate_exam"),
        "lateral.png": (samples.png(picture[::-1]), "view_not_pa"),
        "unknown_view.png": (samples.png(picture.T), "view_not_pa"),
        "header.dcm": (samples.dicom(), None),
        "mono1.dcm": (samples.dicom(PhotometricInterpretation="MONOCHROME1", SOPInstanceUID="1.2.3"), None),
        "conflict.dcm": (samples.dicom(SOPInstanceUID="1.2.4"), "metadata_conflict"),
        "lateral.dcm": (samples.dicom(ViewPosition="LL", SOPInstanceUID="1.2.5"), "view_not_pa"),
        "text.dcm": (b"not an image\n" * 20, "unknown_format"),
        "empty.dcm": (b"", "empty_file"),
        "cut.png": (samples.png(picture)[:900], "corrupt_image"),
        "bomb.png": (samples.png_header(100_000, 100_000), "image_too_large"),
        "dot.png": (samples.png(picture[:1, :1]), "image_too_small"),
        "black.png": (samples.png(np.zeros_like(picture)), "no_contrast"),
        "colour.png": (
            bytes(cv2.imencode(".png", np.dstack([samples.pixels(8)] * 2 + [255 - samples.pixels(8)]))[1]),
            "colour_image",
        ),
        "named.dcm": (samples.dicom(PatientName="Musterfrau^Erika"), "identified"),
    }
    folder.mkdir(parents=True)
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: error for name, (_, error) in files.items()}


def _config(tmp_path: Path, **more: Any) -> IngestConfig:
    (tmp_path / "metadata.csv").write_text(METADATA)
    (tmp_path / "reports.csv").write_text(REPORT_TABLE)
    return IngestConfig(
        root=str(tmp_path / "root"),
        images=str(tmp_path / "images"),
        metadata=MetadataConfig(path=str(tmp_path / "metadata.csv"), columns=COLUMNS),
        reports=ReportsConfig(path=str(tmp_path / "reports.csv")),
        fragment_rows=4,
        **more,
    )


def _rows(root: str) -> dict[str, dict[str, Any]]:
    rows = storage.read_table(root, EXAMS, good_only=False).to_pylist()
    return {Path(r["source_uri"]).name: r for r in rows}


def test_every_object_ends_as_one_row(tmp_path: Path) -> None:
    expected = _archive(tmp_path / "images")
    config = _config(tmp_path)
    summary = run(config)
    rows = _rows(config.root)
    assert {name: row["error"] for name, row in rows.items()} == expected
    assert summary.rows == len(expected)
    assert summary.rejects == dict(Counter(e for e in expected.values() if e))
    assert summary.facts["exams_with_report"] == 2
    assert summary.facts["quarantine"] == {"identified": 1, "burned_in_text": 0}
    assert rows["0.png"]["patient_id"] == rows["1.png"]["patient_id"] == rows["copy.png"]["patient_id"]
    assert rows["0.png"]["split"] == rows["1.png"]["split"]
    reports = storage.read_table(config.root, REPORTS).to_pylist()
    text = "Buckle fracture.\nNo more."
    assert [(r["report_id"], r["text"]) for r in reports] == [(keys.report_id(text), text)]
    assert rows["0.png"]["report_id"] == reports[0]["report_id"]


def test_a_plain_folder_is_a_first_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    for name, picture in {"a": samples.pixels(16), "b": samples.pixels(16)[::-1]}.items():
        (tmp_path / "images" / f"{name}.png").write_bytes(samples.png(picture))
    command = ["--images", str(tmp_path / "images"), "--root", str(tmp_path / "root"), "--fragment_rows", "4"]
    assert ingest.main(command) == 3
    said = capsys.readouterr().out
    assert "rejected view_not_pa: 2" in said
    assert "warning: 2 images are rejected since nothing names their view: --assume_view pa" in said
    assert all("--assume_view pa" in r["error_message"] for r in _rows(str(tmp_path / "root")).values())
    for _ in range(2):  # what is skipped says it again
        assert ingest.main([*command, "--assume_view", "pa"]) == 0
        said = capsys.readouterr().out
        assert "exams_without_patient: 2" in said
        assert said.count("warning: ") == said.count("warning: 2 good exams have no patient") == 1
        assert "unmatched" not in said


def test_tables_of_other_files_are_counted_and_told_of(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    config = _config(tmp_path)
    summary = run(config)
    counts = {n: summary.facts[n] for n in summary.facts if n.startswith(("metadata", "reports"))}
    assert counts == {"metadata_rows": 5, "metadata_unmatched": 0, "reports_rows": 2, "reports_unmatched": 0}
    assert not any("no row" in line for line in summary.advice)
    (tmp_path / "metadata.csv").write_text("file,patient_id,accession,laterality,view\nSECRET-7,SECRET,,,\n")
    (tmp_path / "reports.csv").write_text("accession,report\nSECRET-A9,Nobody's.\n,No study.\nSECRET-A8,\n")
    summary = run(config)
    counts = {n: summary.facts[n] for n in counts}
    assert counts == {"metadata_rows": 1, "metadata_unmatched": 1, "reports_rows": 3, "reports_unmatched": 3}
    assert sum("no row" in line for line in summary.advice) == 2
    assert "SECRET" not in str(summary)


def test_one_exam_under_two_patients(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    (tmp_path / "images" / "other.png").write_bytes((tmp_path / "images" / "0.png").read_bytes())
    config = _config(tmp_path)
    with (tmp_path / "metadata.csv").open("a") as f:
        f.write("other.png,SECRET-P9,SECRET-A9,left,pa\n")
    run(config)
    rows = _rows(config.root)
    assert [rows[n]["error"] for n in ("0.png", "copy.png", "other.png")] == [
        None,
        "duplicate_exam",
        "metadata_conflict",
    ]
    assert "another patient or side" in rows["other.png"]["error_message"]


def test_nothing_that_is_published_names_a_patient_or_the_key(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    config = _config(tmp_path)
    summary = run(config)
    manifests = [storage.find_run(config.root, n, r) for n, r in summary.runs.items()]
    told = str(manifests) + str(_rows(config.root)) + str(summary)
    for secret in ("SECRET", "Musterfrau", "P-7", "A-1", keys.hash_key().decode()):
        assert secret not in told
    assert not storage.list_files(storage.join(config.root, "_work"))


def test_the_second_run_is_skipped_and_a_changed_archive_is_not(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    config = _config(tmp_path)
    first, second = run(config), run(config)
    assert (first.skipped, second.skipped) == (False, True)
    assert second.runs == first.runs
    assert second.rejects == first.rejects
    before = storage.read_table(config.root, EXAMS, good_only=False)
    (tmp_path / "images" / "new.png").write_bytes(samples.png(samples.pixels(16, 50, 50)))
    third = run(config)
    assert not third.skipped
    assert third.rows == first.rows + 1
    again = storage.read_table(config.root, EXAMS, first.runs["exams"], good_only=False)
    assert again.equals(before)


def test_a_person_releases_from_quarantine(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    config = _config(tmp_path)
    first = run(config)
    held = _rows(config.root)["named.dcm"]
    assert (held["error"], held["error_message"]) == ("identified", "the header holds PatientName")
    (tmp_path / "release.txt").write_text(f"{held['source_id']}  # made up\n")
    second = run(config.with_(deid=GateConfig(release=str(tmp_path / "release.txt"))))
    assert second.runs["sources"] == first.runs["sources"], "a release reads nothing"
    assert second.runs["exams"] != first.runs["exams"]
    row = _rows(config.root)["named.dcm"]
    assert row["error"] == "duplicate_exam"  # header.dcm holds the same instance: no longer a matter of names
    assert second.facts["quarantine"] == {"identified": 0, "burned_in_text": 0}
    assert second.facts["released"] == 1


def test_files_that_pydicom_ships(tmp_path: Path) -> None:
    source = Path(pydicom.__file__).parent / "data" / "test_files"
    shutil.copytree(source, tmp_path / "images")
    count = sum(1 for f in source.rglob("*") if f.is_file())
    config = IngestConfig(root=str(tmp_path / "root"), images=str(tmp_path / "images"), max_reject_share=1.0)
    summary = run(config)
    table = storage.read_table(config.root, EXAMS, good_only=False)
    assert summary.rows == table.num_rows == count
    assert len(set(table["source_uri"].to_pylist())) == count
    assert sum(summary.rejects.values()) == table.num_rows - table["error"].null_count
    assert {"not_radiograph", "no_pixels", "colour_image", "unknown_format"} <= set(summary.rejects)
    assert "stage_failed" not in summary.rejects


def test_real_radiographs(tmp_path: Path, real_data: Path) -> None:
    folder = real_data / "grazpedwri"
    arguments = ["--images", f"{folder}/*.png", "--metadata.path", f"{folder}/dataset.csv", "--root", str(tmp_path)]
    yaml = Path(ingest.__file__).with_name("ingest_grazpedwri.yaml")
    assert ingest.main(["--config", str(yaml), *arguments]) == 0
    rows = _rows(str(tmp_path))
    assert Counter(r["error"] for r in rows.values()) == {None: 5, "view_not_pa": 1}
    assert rows["2895_0399447864_01_WRI-L2_F012.png"]["error"] == "view_not_pa"
    assert rows["5791_0288377040_02_WRI-R1_F009.png"]["bits"] == 8
    assert {r["bits"] for r in rows.values() if not r["error"]} == {8, 16}
    assert rows["0004_0542630449_01_WRI-L1_M003.png"]["age_years"] == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (["--images", "nowhere"], "nowhere"),
        (["--metadata.path", "gone.csv"], "gone.csv"),
        (["--metadata.columns.view", "ViewPos"], "ViewPos"),
        (["--reports.columns.text", "Befund"], "Befund"),
        (["--split.test_share", "0.95"], "test_share"),
        (["--decode.body_parts", "("], "body_parts"),
        (["--deid.release", "gone.txt"], "gone.txt"),
    ],
)
def test_impossible_runs_say_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], word: str
) -> None:
    _archive(tmp_path / "images")
    _config(tmp_path)
    arguments = {
        "--root": str(tmp_path / "root"),
        "--images": str(tmp_path / "images"),
        "--metadata.path": str(tmp_path / "metadata.csv"),
        "--reports.path": str(tmp_path / "reports.csv"),
    }
    for name in ("age_years", "sex", "study_date"):
        arguments[f"--metadata.columns.{name}"] = "null"
    arguments[change[0]] = change[1]
    assert ingest.main([a for pair in arguments.items() for a in pair]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_a_missing_key_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _archive(tmp_path / "images")
    monkeypatch.delenv(keys.HASH_KEY_VARIABLE)
    assert ingest.main(["--images", str(tmp_path / "images"), "--root", str(tmp_path / "root")]) == 2
    assert keys.HASH_KEY_VARIABLE in capsys.readouterr().err


def test_the_manifest_says_where_rows_came_from(tmp_path: Path) -> None:
    _archive(tmp_path / "images")
    config = _config(tmp_path)
    summary = run(config)
    manifest = storage.published(config.root, "exams")
    assert set(manifest.inputs) == {
        "objects",
        "metadata",
        "reports",
        "released",
        "hash_key",
        "unreadable",
        "sources",
    }
    assert json.loads(json.dumps(manifest.config))["images"] == config.images
    assert summary.runs["exams"] == summary.runs["reports"] == manifest.run_id
