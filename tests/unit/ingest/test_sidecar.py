"""Tables beside the images: reading, matching, mapping, and what is said when they do not fit."""

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest import sidecar
from wristmir_ray.ingest.config import MetadataColumns, MetadataConfig, ReportsConfig, ValueMaps

COLUMNS = MetadataColumns(
    file="name", patient_id="pid", laterality="side", view="projection", age_years="age", sex="gender", study_date="day"
)
ROWS = [
    {
        "name": "images/0.png",
        "pid": "7",
        "side": "L",
        "projection": "1",
        "age": "9.5",
        "gender": "F",
        "day": "2020-03-01",
    },
    {"name": "1", "pid": "8", "side": "?", "projection": "2", "age": "old", "gender": "", "day": "someday"},
]


def _csv(path: Path, mark: str = "", encoding: str = "utf-8") -> Path:
    lines = [",".join(ROWS[0]), *(",".join(r.values()) for r in ROWS)]
    path.write_bytes((mark + "\n".join(lines) + "\n").encode(encoding))
    return path


def _write(path: Path) -> Path:
    typed = [{**r, "pid": int(r["pid"]), "projection": int(r["projection"])} for r in ROWS]
    if path.suffix == ".csv":
        return _csv(path, mark="\ufeff")
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(typed), path)
    else:
        import json

        path.write_text("\n".join(json.dumps(r) for r in typed))
    return path


def _config(path: Path, **more: Any) -> MetadataConfig:
    values = ValueMaps(view={1: "pa", 2: "lateral"})  # type: ignore[dict-item]
    return MetadataConfig(path=str(path), **{"columns": COLUMNS, "values": values, **more})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_every_kind_of_table_says_the_same(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"table{suffix}")
    uris = ["/a/images/0.png", "/a/images/1.dcm", "/a/other/0.png", "s3://b/images/0.png"]
    known = sidecar.match_metadata(uris, _config(path)).to_pylist()
    first = {
        "patient_id": "7",
        "accession": None,
        "laterality": "left",
        "view": "pa",
        "age_years": 9.5,
        "sex": "female",
        "study_date": datetime.date(2020, 3, 1),
    }
    assert known[0] == known[3] == first
    assert known[1] == {**dict.fromkeys(first), "patient_id": "8", "view": "lateral"}
    assert known[2] == dict.fromkeys(first)


def test_no_table_knows_nothing() -> None:
    known = sidecar.match_metadata(["/a/0.png"], MetadataConfig())
    assert known.schema == sidecar.KNOWN
    assert known.to_pylist() == [dict.fromkeys(sidecar.KNOWN.names)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    config = _config(_csv(tmp_path / "t.csv"), columns=MetadataColumns(file="name", view="ViewPos"))
    with pytest.raises(ConfigError, match=r"no column 'ViewPos' \(setting metadata\.columns\.view\)"):
        sidecar.match_metadata(["/a/0.png"], config)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv"):
        sidecar.match_metadata([], _config(tmp_path / "gone.csv"))


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv"])
def test_a_broken_table_is_named_and_not_quoted(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"Musterfrau\xff\xfe,{]\nErika,1,2,3,4\n")
    with pytest.raises(ConfigError, match=name) as caught:
        sidecar.match_metadata([], _config(path))
    assert "Erika" not in str(caught.value)


def test_a_file_named_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,pid\na.png,1\n./a.png,2\n")
    with pytest.raises(ConfigError, match="names a file twice"):
        sidecar.match_metadata([], MetadataConfig(path=str(path), columns=MetadataColumns(file="name")))


def test_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("accession;report\nA;Fraktur, distal – nein\n".encode("cp1252"))
    config = ReportsConfig(path=str(path), encoding="cp1252", delimiter=";")
    assert sidecar.read_reports(config).to_pylist() == [{"accession": "A", "text": "Fraktur, distal – nein"}]


def test_reports_of_one_study_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('accession,report\nB,second\nA,"line one\nline two"\nB,addendum\nB,second\n,lost\nC,  \n')
    texts = sidecar.read_reports(ReportsConfig(path=str(path))).to_pylist()
    assert texts == [{"accession": "A", "text": "line one\nline two"}, {"accession": "B", "text": "second\n\naddendum"}]


def test_digest_follows_the_bytes(tmp_path: Path) -> None:
    one, same = _csv(tmp_path / "1.csv"), _csv(tmp_path / "2.csv")
    other = _csv(tmp_path / "3.csv", mark="\ufeff")
    digests = [sidecar.file_digest(_config(p)) for p in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert sidecar.file_digest(MetadataConfig()) == ""


def test_real_metadata(real_data: Path) -> None:
    folder = real_data / "grazpedwri"
    columns = MetadataColumns(file="filestem", patient_id="patient_id", laterality="laterality", view="projection")
    config = _config(folder / "dataset.csv", columns=columns)
    known = sidecar.match_metadata(sorted(str(f) for f in folder.glob("*.png")), config).to_pylist()
    assert [k["view"] for k in known] == ["pa", "pa", "pa", "lateral", "pa", "pa"]
    assert [k["laterality"] for k in known] == ["left", "right", "left", "left", "right", "right"]
