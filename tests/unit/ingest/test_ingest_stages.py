"""Ingest's stages and merge: one row out for each row in, codes where they belong, no identifier left."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.unit.imaging import samples
from tests.unit.ingest.steps import KEY, ingest, objects, read
from wristmir_ray import keys
from wristmir_ray.anatomy import View
from wristmir_ray.errors import SchemaError
from wristmir_ray.imaging.config import Identifier
from wristmir_ray.ingest import stages
from wristmir_ray.ingest.config import GateConfig, SplitConfig
from wristmir_ray.ingest.merge import MERGED, merge
from wristmir_ray.ingest.objects import OBJECTS
from wristmir_ray.schemas import SOURCES


def _write(folder: Path, **files: bytes) -> None:
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_header_alone(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom())
    row = ingest(tmp_path, assume=None)["a"]
    assert row["exam_id"] == keys.keyed(KEY, "exam", "1.2.826.0.1.3680043.8.498.1")
    assert row["patient_id"] == keys.keyed(KEY, "patient", "P-7")
    assert row["study_id"] == keys.keyed(KEY, "study", "A-1")
    assert row["split"] == keys.split_of(row["patient_id"], 0.1, 0.3).value
    assert (row["laterality"], row["view"], row["age_years"], row["sex"]) == ("left", "pa", 9.0, "female")
    assert (row["rows"], row["cols"], row["bits"], row["format"], row["error"]) == (48, 40, 12, "dicom", None)
    assert row["conflicts"] == []


def test_no_identifier_leaves_the_stage_that_decodes(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom(), b=samples.dicom(PatientName="Musterfrau^Erika", SOPInstanceUID="1.2.9"))
    rows = read(objects(str(tmp_path), {}, tmp_path / "s")).drop_columns("source_uri")
    assert rows["error"].null_count == 1
    for secret in ("P-7", "A-1", "498.1", "1.2.9", "Musterfrau", "ANON"):
        assert secret not in str(rows.to_pylist())


def test_the_table_wins_over_the_header(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom())
    row = ingest(tmp_path, {"a": {"patient_id": "Q", "age_years": 3.5, "sex": "male", "laterality": "left"}})["a"]
    assert row["patient_id"] == "Q"
    assert (row["age_years"], row["sex"], row["laterality"], row["error"]) == (3.5, "male", "left", None)
    assert row["conflicts"] == ["age_years", "sex"]


@pytest.mark.parametrize(
    ("table", "conflicts", "error"),
    [
        ({}, [], None),
        ({"age_years": 9.9}, [], None),
        ({"age_years": 10.0}, [], None),
        ({"age_years": 10.1}, ["age_years"], None),
        ({"age_years": 7.9}, ["age_years"], None),
        ({"sex": "female"}, [], None),
        ({"sex": "other"}, ["sex"], None),
        ({"laterality": "right"}, ["laterality"], "metadata_conflict"),
        ({"laterality": "right", "sex": "male", "age_years": 2.0}, ["laterality", "age_years", "sex"], "x"),
    ],
)
def test_what_differs_is_named(tmp_path: Path, table: dict[str, Any], conflicts: list[str], error: str | None) -> None:
    _write(tmp_path, a=samples.dicom(), b=samples.png(samples.pixels(16)))
    rows = ingest(tmp_path, {"a": table, "b": table})
    assert rows["a"]["conflicts"] == conflicts
    assert rows["a"]["error"] == ("metadata_conflict" if error == "x" else error)
    assert (rows["b"]["conflicts"], rows["b"]["error"]) == ([], None), "a PNG says nothing that could differ"
    for name, value in table.items():
        assert rows["a"][name] == (pytest.approx(value) if name == "age_years" else value)


def test_a_header_without_age_or_sex_does_not_differ(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom(PatientAge=None, PatientSex=None))
    row = ingest(tmp_path, {"a": {"age_years": 3.5, "sex": "male"}})["a"]
    assert (row["age_years"], row["sex"], row["conflicts"]) == (3.5, "male", [])


def test_an_image_without_patient_is_its_own(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.png(samples.pixels(16)))
    row = ingest(tmp_path)["a"]
    assert row["patient_id"] is None
    assert row["exam_id"] == row["pixel_id"] == keys.pixel_id(samples.pixels(16))
    assert row["split"] == keys.split_of(row["exam_id"], 0.1, 0.3).value


@pytest.mark.parametrize(
    ("header", "table", "assume", "error"),
    [
        ("PA", None, None, None),
        ("AP", None, None, None),
        ("LL", None, None, "view_not_pa"),
        ("OBL", None, View.PA, "view_not_pa"),
        ("LL", "pa", None, "view_not_pa"),
        ("", None, None, "view_not_pa"),
        ("", None, View.PA, None),
        ("", "pa", None, None),
    ],
)
def test_views(tmp_path: Path, header: str, table: str | None, assume: View | None, error: str | None) -> None:
    _write(tmp_path, a=samples.dicom(ViewPosition=header))
    row = ingest(tmp_path, {"a": {"view": table}}, assume)["a"]
    assert row["error"] == error
    assert row["view"] == "pa" or error
    if error:
        assert ("--assume_view pa" in row["error_message"]) == ((header, table, assume) == ("", None, None))
    assert row["conflicts"] == (["view"] if (header, table) == ("LL", "pa") else [])


def test_bad_objects_leave_their_neighbours(tmp_path: Path) -> None:
    _write(tmp_path, good=samples.dicom(), cut=samples.dicom()[:2000], empty=b"", text=b"text " * 100)
    (tmp_path / "big").write_bytes(bytes(1024 * 1024 + 1))
    errors = {name: row["error"] for name, row in ingest(tmp_path).items()}
    assert errors == {
        "good": None,
        "cut": "corrupt_image",
        "empty": "empty_file",
        "text": "unknown_format",
        "big": "image_too_large",
    }


def test_quarantine_and_release(tmp_path: Path) -> None:
    text = samples.dicom(BurnedInAnnotation="YES", SOPInstanceUID="1.2.9")
    lateral = samples.dicom(PatientName="Musterfrau^Erika", SOPInstanceUID="1.2.8", ViewPosition="LL")
    named = samples.dicom(PatientName="Musterfrau^Erika")
    _write(tmp_path, named=named, text=text, lateral=lateral, good=samples.dicom(), cut=b"cut")
    rows = ingest(tmp_path)
    assert {n: (r["error"], r["error_stage"]) for n, r in rows.items()} == {
        "named": ("identified", "decode"),
        "text": ("burned_in_text", "decode"),
        "lateral": ("identified", "decode"),
        "good": (None, None),
        "cut": ("unknown_format", "decode"),
    }
    assert "Musterfrau" not in str({k: v for row in rows.values() for k, v in row.items() if k != "source_uri"})
    released = frozenset(rows[n]["source_id"] for n in ("named", "lateral", "good", "cut"))
    again = ingest(tmp_path, released=released)
    assert {n: r["error"] for n, r in again.items()} == {
        "named": None,
        "text": "burned_in_text",
        "lateral": "view_not_pa",
        "good": None,
        "cut": "unknown_format",
    }
    columns = {k: v for k, v in again["named"].items() if not k.startswith("source")}
    assert columns == {k: v for k, v in again["good"].items() if not k.startswith("source")}


def test_the_gate_asks_what_it_is_told_to(tmp_path: Path) -> None:
    _write(tmp_path, a=samples.dicom(PatientName="Musterfrau^Erika", InstitutionName="Kinderklinik"))
    codes = [
        ingest(tmp_path, deid=GateConfig(quarantine=kinds))["a"]["error"]
        for kinds in ((), (Identifier.STAFF,), (Identifier.PATIENT_NAME,), (Identifier.INSTITUTION_NAME,))
    ]
    assert codes == [None, None, "identified", "identified"]


def test_what_is_not_to_be_read_is_said_without_its_address(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    _write(archive, there=samples.dicom(), big=bytes(2**20 + 1))
    (tmp_path / "list").write_text(f"{archive}/gone.png\n{archive}/there\n{archive}/big\n{archive}/there\n")
    found = objects(f"@{tmp_path}/list", {}, tmp_path / "s")
    codes = {Path(r["source_uri"]).name: r["unread"] for r in found.to_pylist()}
    assert codes == {"gone.png": "source_unreadable", "there": None, "big": "image_too_large"}
    rows = {Path(r["source_uri"]).name: r for r in merge(found, read(found), None, SplitConfig()).to_pylist()}
    assert {n: r["error"] for n, r in rows.items()} == codes
    assert (rows["gone.png"]["error_stage"], rows["gone.png"]["exam_id"]) == ("list", None)
    assert "gone" not in rows["gone.png"]["error_message"]


def test_the_tables_view_keeps_an_object_from_being_read() -> None:
    row = {"source_id": "1", "source_uri": "a", "view": "lateral", "unread": "view_not_pa"}
    read_before = pa.Table.from_pylist(
        [{"source_id": "1", "view": "pa", "exam_id": "e", "sex": "male"}], SOURCES.schema
    )
    out = merge(pa.Table.from_pylist([row], OBJECTS), read_before, None, SplitConfig()).to_pylist()[0]
    assert (out["error"], out["view"], out["exam_id"], out["sex"]) == ("view_not_pa", "lateral", None, None)


def test_a_row_that_was_not_read_is_a_bug() -> None:
    wanted = pa.Table.from_pylist([{"source_id": "1", "source_uri": "a"}], OBJECTS)
    with pytest.raises(SchemaError, match="sources"):
        merge(wanted, SOURCES.schema.empty_table(), None, SplitConfig())


def test_no_rows() -> None:
    out = merge(OBJECTS.empty_table(), SOURCES.schema.empty_table(), None, SplitConfig())
    assert (out.schema, out.num_rows) == (MERGED, 0)


def test_an_object_that_vanished_is_unreadable(tmp_path: Path) -> None:
    batch = pa.table({"source_uri": [f"{tmp_path}/gone.png"]})
    row = stages.fetch(batch, max_bytes=10).to_pylist()[0]
    assert (row["error"], row["data"]) == ("source_unreadable", None)
    assert "gone" not in row["error_message"]
