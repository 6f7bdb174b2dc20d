"""Doubles and reports over the whole archive, whichever ranges their rows fall into."""

from pathlib import Path

import pyarrow as pa
import pytest

from wristmir_ray import keys, spill
from wristmir_ray.ingest.doubles import COPIES, find_doubles, reject_doubles
from wristmir_ray.ingest.exams import STUDIES, Spills, attach_reports
from wristmir_ray.ingest.sidecar import TEXTS
from wristmir_ray.schemas import EXAMS


@pytest.fixture(params=["in memory", "spilled"])
def spills(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spills:
    if request.param == "spilled":
        monkeypatch.setattr(spill, "SPILL_BYTES", 100)
        monkeypatch.setattr(spill, "RANGE_ROWS", 2)
    return Spills(str(tmp_path))


def _id(name: str) -> str:
    return keys.digest(name)


def test_the_later_of_two_equal_exams_is_a_double(spills: Spills) -> None:
    rows = [("x", "b", "1"), ("x", "c", "3"), ("y", "d", "4"), ("x", "a", "2"), ("z", "e", "5")]
    for exam, uri, source in rows:
        row = {"exam_id": _id(exam), "source_uri": uri, "source_id": _id(source)}
        spills.copies.put(pa.Table.from_pylist([row], COPIES))
    find_doubles(spills.copies, spills.doubles)
    found = [i for t in spills.doubles.ranges() for i in t["source_id"].to_pylist()]
    assert sorted(found) == sorted([_id("1"), _id("3")])


def test_a_double_of_another_patient_or_side_is_a_conflict(spills: Spills) -> None:
    rows = [
        ("x", "a", "P", None),
        ("x", "b", None, "left"),  # says nothing else: a copy
        ("x", "c", "P", "left"),
        ("x", "d", "Q", "left"),
        ("x", "e", "P", "right"),
        ("y", "f", "P", "left"),
        ("y", "g", None, None),
        ("z", "h", None, None),
        ("z", "i", "P", "right"),
        ("z", "j", "Q", "right"),
        ("u", "k", "R", "left"),
    ]
    for exam, uri, patient, side in reversed(rows):  # whatever the order of listing
        row = {"exam_id": _id(exam), "source_uri": uri, "source_id": _id(uri), "patient_id": patient}
        spills.copies.put(pa.Table.from_pylist([{**row, "laterality": side}], COPIES))
    find_doubles(spills.copies, spills.doubles)
    exams = pa.Table.from_pylist([{"source_id": _id(r[1]), "source_uri": r[1]} for r in rows], EXAMS.schema)
    out = {r["source_uri"]: r for r in reject_doubles(exams, spills.doubles.read()).to_pylist()}
    assert {u: r["error"] for u, r in out.items() if r["error"]} == {
        **dict.fromkeys("bcgi", "duplicate_exam"),
        **dict.fromkeys("dej", "metadata_conflict"),
    }
    assert "another patient or side" in out["d"]["error_message"]
    assert {r["error_stage"] for r in out.values()} == {None, "publish"}


def test_each_study_has_its_report_and_unused_ones_are_left_out(spills: Spills) -> None:
    for row, (study, text) in enumerate([("B", "two"), ("A", "one"), ("C", "nobody's"), ("B", "more"), ("D", "one")]):
        spills.texts.put(pa.Table.from_pylist([{"study_id": _id(study), "row": row, "text": text}], TEXTS))
    spills.texts.put(pa.Table.from_pylist([{"study_id": _id("F"), "row": 5, "text": "of a lateral view"}], TEXTS))
    for source, study in [("1", "A"), ("2", "B"), ("3", "B"), ("4", "D"), ("5", "E"), (None, "F"), (None, "A")]:
        row = {"study_id": _id(study), "source_id": _id(source) if source else None}
        spills.studies.put(pa.Table.from_pylist([row], STUDIES))
    assert attach_reports(spills) == 5, "all but nobody's; a reject's is matched, and not in use"
    one, both = keys.report_id("one"), keys.report_id("two\n\nmore")
    links = {r["source_id"]: r["report_id"] for t in spills.links.ranges() for r in t.to_pylist()}
    assert links == {_id("1"): one, _id("2"): both, _id("3"): both, _id("4"): one}
    used = {(r["report_id"], r["text"]) for t in spills.used.ranges() for r in t.to_pylist()}
    assert used == {(one, "one"), (both, "two\n\nmore")}


def test_nothing_at_all(spills: Spills) -> None:
    find_doubles(spills.copies, spills.doubles)
    assert attach_reports(spills) == 0
    assert spills.doubles.num_rows == spills.links.num_rows == spills.used.num_rows == 0
