"""Ingest's stages: one row out for each row in, codes where they belong, no identifier left."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.imaging import samples
from wristmir_ray import keys
from wristmir_ray.anatomy import View
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest import listing, sidecar, stages
from wristmir_ray.ingest.config import IngestConfig, SplitConfig
from wristmir_ray.schemas import EXAMS, INGESTED, REPORTS, conform

KEY = b"sixteen and more bytes"
TEXTS = pa.Table.from_pylist([{"accession": "A-1", "text": "No fracture."}], sidecar.TEXTS)


def _ingest(
    folder: Path,
    known: dict[str, dict[str, Any]] | None = None,
    assume: View | None = View.PA,
    released: frozenset[str] = frozenset(),
    **config: Any,
) -> dict[str, dict[str, Any]]:
    """Return file name -> row, through every stage."""
    settings = IngestConfig(root="unused", images=str(folder), **config)
    objects = listing.list_images(str(folder))
    names = [Path(u).name for u in objects["source_uri"].to_pylist()]
    table = pa.Table.from_pylist([(known or {}).get(n, {}) for n in names], sidecar.KNOWN)
    batch = objects
    for column in table.column_names:
        batch = batch.append_column(table.schema.field(column), table[column])
    batch = stages.fetch(batch, max_bytes=settings.max_file_mib * 2**20)
    batch = stages.decode_images(batch, config=settings.decode, gate=settings.deid, released=released)
    batch = stages.merge_metadata(batch, assume_view=assume)
    batch = stages.attach_reports(batch, reports=TEXTS)
    out = stages.identify(batch, key=KEY, split=SplitConfig())
    assert out.schema == INGESTED.schema
    assert out["source_id"].to_pylist() == objects["source_id"].to_pylist()
    return dict(zip(names, out.to_pylist(), strict=True))


def _write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_header_alone(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom())
    row = _ingest(tmp_path, assume=None)["a"]
    assert row["exam_id"] == keys.keyed(KEY, "exam", "1.2.826.0.1.3680043.8.498.1")
    assert row["patient_id"] == keys.keyed(KEY, "patient", "P-7")
    assert row["study_id"] == keys.keyed(KEY, "study", "A-1")
    assert row["report_id"] == keys.report_id("No fracture.")
    assert row["split"] == keys.split_of(row["patient_id"], 0.1, 0.3).value
    assert (row["laterality"], row["view"], row["age_years"], row["sex"]) == ("left", "pa", 9.0, "female")
    assert (row["rows"], row["cols"], row["bits"], row["format"], row["error"]) == (48, 40, 12, "dicom", None)
    text = str({k: v for k, v in row.items() if k != "source_uri"})
    assert "P-7" not in text
    assert "A-1" not in text
    assert "498.1" not in text


def test_the_table_wins_over_the_header(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom())
    row = _ingest(tmp_path, {"a": {"patient_id": "Q", "age_years": 3.5, "sex": "male", "laterality": "left"}})["a"]
    assert row["patient_id"] == keys.keyed(KEY, "patient", "Q")
    assert (row["age_years"], row["sex"], row["laterality"], row["error"]) == (3.5, "male", "left", None)


def test_an_image_without_patient_is_its_own(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.png(samples.pixels(16)))
    row = _ingest(tmp_path)["a"]
    assert row["patient_id"] is None
    assert row["exam_id"] == keys.pixel_id(samples.pixels(16))
    assert row["split"] == keys.split_of(row["exam_id"], 0.1, 0.3).value


@pytest.mark.parametrize(
    ("header", "table", "assume", "error"),
    [
        ("PA", None, None, None),
        ("AP", None, None, None),
        ("LL", None, None, "view_not_pa"),
        ("OBL", None, View.PA, "view_not_pa"),
        ("PA", "lateral", None, "view_not_pa"),
        ("LL", "pa", None, "view_not_pa"),
        ("", None, None, "view_not_pa"),
        ("", None, View.PA, None),
        ("", "pa", None, None),
    ],
)
def test_views(tmp_path: Path, header: str, table: str | None, assume: View | None, error: str | None) -> None:
    _write(tmp_path, a=samples.dicom(ViewPosition=header))
    row = _ingest(tmp_path, {"a": {"view": table}}, assume)["a"]
    assert row["error"] == error
    assert row["view"] == "pa" or error


def test_sides_that_differ(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom())
    row = _ingest(tmp_path, {"a": {"laterality": "right"}})["a"]
    assert (row["error"], row["error_stage"], row["report_id"]) == ("metadata_conflict", "merge", None)


def test_bad_objects_leave_their_neighbours(tmp_path: Path) -> None:
    _write(tmp_path, good=samples.dicom(), cut=samples.dicom()[:2000], empty=b"", text=b"text " * 100)
    (tmp_path / "big").write_bytes(bytes(1024 * 1024 + 1))
    rows = _ingest(tmp_path, max_file_mib=1)
    errors = {name: row["error"] for name, row in rows.items()}
    assert errors == {
        "good": None,
        "cut": "corrupt_image",
        "empty": "empty_file",
        "text": "unknown_format",
        "big": "image_too_large",
    }


def test_quarantine_and_release(tmp_path: Path) -> None:
    text = samples.dicom(BurnedInAnnotation="YES", SOPInstanceUID="1.2.9")
    _write(tmp_path, named=samples.dicom(PatientName="Musterfrau^Erika"), text=text, good=samples.dicom())
    rows = _ingest(tmp_path)
    assert {n: (r["error"], r["error_stage"]) for n, r in rows.items()} == {
        "named": ("identified", "decode"),
        "text": ("burned_in_text", "decode"),
        "good": (None, None),
    }
    assert not any(rows[n]["exam_id"] or rows[n]["report_id"] for n in ("named", "text"))
    assert "Musterfrau" not in str({k: v for k, v in rows["named"].items() if k != "source_uri"})
    list_file = tmp_path / "release.txt"
    list_file.write_text(f"# looked at on 3 May\n\n{rows['named']['source_id']}  # a made-up name\n")
    released = sidecar.read_release(str(list_file))
    list_file.unlink()
    again = _ingest(tmp_path, released=released)
    assert {n: r["error"] for n, r in again.items()} == {"named": None, "text": "burned_in_text", "good": None}


@pytest.mark.parametrize(("lines", "words"), [("nonsense\n", "line 1: no source_id"), (None, "cannot be read")])
def test_a_release_list_that_is_none(tmp_path: Path, lines: str | None, words: str) -> None:
    file = tmp_path / "release.txt"
    if lines:
        file.write_text(lines)
    with pytest.raises(ConfigError, match=words):
        sidecar.read_release(str(file))
    assert sidecar.read_release(None) == frozenset()


def test_an_object_that_vanished(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{tmp_path}/gone.png\n")
    objects = listing.list_images(f"@{tmp_path}/list")
    known = pa.Table.from_pylist([{}], sidecar.KNOWN)
    for column in known.column_names:
        objects = objects.append_column(known.schema.field(column), known[column])
    row = stages.fetch(objects, max_bytes=10).to_pylist()[0]
    assert (row["error"], row["data"]) == ("source_unreadable", None)
    assert "gone" not in row["error_message"]


def _fragment(*rows: dict[str, Any]) -> pa.Table:
    return conform(list(rows), INGESTED)


def test_the_later_of_two_equal_exams_is_a_double() -> None:
    rows = _fragment(
        {"source_id": "1", "source_uri": "b", "exam_id": "x", "report_id": "r", "report_text": "t"},
        {"source_id": "2", "source_uri": "a", "exam_id": "x", "error": "view_not_pa"},
        {"source_id": "3", "source_uri": "c", "exam_id": "x"},
        {"source_id": "4", "source_uri": "d", "exam_id": "y"},
        {"source_id": "5", "source_uri": "e", "error": "empty_file"},
        {"source_id": "6", "source_uri": "f", "error": "empty_file"},
    )
    doubles = stages.later_doubles(rows)
    assert doubles.to_pylist() == ["3"]
    exams = stages.exams(rows, doubles)
    assert exams.schema.names == EXAMS.schema.names
    assert exams["error"].to_pylist() == [None, "view_not_pa", "duplicate_exam", None, "empty_file", "empty_file"]
    reports = conform(dict(zip(REPORTS.schema.names, stages.reports(rows).columns, strict=True)), REPORTS)
    assert reports.to_pylist() == [dict.fromkeys(REPORTS.schema.names) | {"report_id": "r", "text": "t"}]


def test_no_rows() -> None:
    empty = INGESTED.schema.empty_table()
    assert len(stages.later_doubles(empty)) == 0
    assert stages.exams(empty, stages.later_doubles(empty)).num_rows == 0
    assert stages.reports(empty).num_rows == 0
    none = pa.Table.from_pylist(
        [{"accession": "A-1", "error": None}], pa.schema([("accession", pa.string()), ("error", pa.string())])
    )
    assert stages.attach_reports(none, reports=sidecar.TEXTS.empty_table())["report_text"].to_pylist() == [None]
