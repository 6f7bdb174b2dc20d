"""Tables beside the images: reading, mapping, hashing, and what is said when they do not fit."""

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wristmir_ray import keys, spill
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest import sidecar, tablefile
from wristmir_ray.ingest.config import MetadataColumns, MetadataConfig, ReportsConfig, ValueMaps
from wristmir_ray.ingest.listing import LISTING
from wristmir_ray.ingest.objects import Objects, find_objects
from wristmir_ray.spill import Spill

KEY = b"sixteen and more bytes"
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


def found(uris: list[str], config: MetadataConfig, folder: Path) -> Objects:
    rows = Spill(str(folder / "metadata"), sidecar.METADATA, "place", "row")
    count = sidecar.spill_metadata(config, KEY, rows)
    listed = pa.table([[keys.digest(u) for u in uris], uris, [1] * len(uris)], schema=LISTING)
    return find_objects([listed], rows, count, 10, str(config.path), str(folder))


def match(uris: list[str], config: MetadataConfig, folder: Path) -> list[dict[str, Any]]:
    """What the table says of each address."""
    objects = found(uris, config, folder)
    known = {r["source_uri"]: {n: r[n] for n in sidecar.KNOWN.names} for r in objects.rows.read().to_pylist()}
    return [known[u] for u in uris]


def reports(config: ReportsConfig, folder: Path) -> dict[str, str]:
    rows = Spill(str(folder), sidecar.TEXTS, "study_id", "row")
    sidecar.spill_reports(config, KEY, rows)
    return sidecar.whole_reports(rows.read())


def patient(value: str) -> str:
    return keys.keyed(KEY, "patient", value)


def study(value: str) -> str:
    return keys.keyed(KEY, "study", value)


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
        path.write_text("\n\n".join(json.dumps(r) for r in typed))
    return path


def _config(path: Path, **more: Any) -> MetadataConfig:
    values = ValueMaps(view={1: "pa", 2: "lateral"})  # type: ignore[dict-item]
    return MetadataConfig(path=str(path), **{"columns": COLUMNS, "values": values, **more})


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_every_kind_of_table_says_the_same(tmp_path: Path, suffix: str) -> None:
    path = _write(tmp_path / f"table{suffix}")
    uris = ["/a/images/0.png", "/a/images/1.dcm", "/a/other/0.png", "s3://b/images/0.png"]
    known = match(uris, _config(path), tmp_path)
    first = {
        "patient_id": patient("7"),
        "study_id": None,
        "laterality": "left",
        "view": "pa",
        "age_years": 9.5,
        "sex": "female",
        "study_date": datetime.date(2020, 3, 1),
    }
    assert known[0] == known[3] == first
    assert known[1] == {**dict.fromkeys(first), "patient_id": patient("8"), "view": "lateral"}
    assert known[2] == dict.fromkeys(first)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_table_longer_than_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(tablefile, "_BATCH_ROWS", 3)
    monkeypatch.setattr(tablefile, "_BLOCK_BYTES", 64)
    path = tmp_path / f"t{suffix}"
    rows = [{"name": f"{i}.png", "pid": f"p{i}"} for i in range(20)]
    if suffix == ".csv":
        path.write_text("name,pid\n" + "".join(f"{r['name']},{r['pid']}\n" for r in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(json.dumps(r) for r in rows))
    config = MetadataConfig(path=str(path), columns=MetadataColumns(file="name", patient_id="pid"))
    known = match([f"/x/{r['name']}" for r in rows], config, tmp_path)
    assert [k["patient_id"] for k in known] == [patient(r["pid"]) for r in rows]


@pytest.mark.parametrize("range_rows", [2, 50_000])
def test_rows_that_name_no_object_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_rows: int) -> None:
    monkeypatch.setattr(spill, "RANGE_ROWS", range_rows)
    names = ["a.png", "gone.png", "", "b", "deep/c.png", "other/d.png", "e"]
    (tmp_path / "t.csv").write_text("name,side\n" + "".join(f"{n},L\n" for n in names))
    config = MetadataConfig(path=str(tmp_path / "t.csv"), columns=MetadataColumns(file="name", laterality="side"))
    uris = ["/x/a.png", "/x/a.png.dcm", "/x/b.dcm", "/y/b.png", "/deep/c.png", "/x/d.png", "/x/z.png"]
    objects = found(uris, config, tmp_path)  # a.png names two files, which lie at two places
    assert (objects.metadata_rows, objects.metadata_unmatched) == (7, 4)
    without = found(uris, MetadataConfig(), tmp_path)
    assert (without.metadata_rows, without.metadata_unmatched) == (0, 0)


def test_no_table_knows_nothing(tmp_path: Path) -> None:
    assert match(["/a/0.png"], MetadataConfig(), tmp_path) == [dict.fromkeys(sidecar.KNOWN.names)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_missing_column_is_named(tmp_path: Path, suffix: str) -> None:
    config = _config(_write(tmp_path / f"t{suffix}"), columns=MetadataColumns(file="name", view="ViewPos"))
    with pytest.raises(ConfigError, match=r"no column 'ViewPos' \(setting metadata\.columns\.view\)"):
        match(["/a/0.png"], config, tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read"):
        match([], _config(tmp_path / "gone.csv"), tmp_path)
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read"):
        sidecar.check_reports(ReportsConfig(path=str(tmp_path / "gone.csv")))
    sidecar.check_reports(ReportsConfig())


@pytest.mark.parametrize("name", ["t.parquet", "t.jsonl", "t.csv"])
@pytest.mark.parametrize("data", [b"Musterfrau\xff\xfe,{]\nErika,1,2,3,4\n", b""])
def test_a_broken_table_is_named_and_not_quoted(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=name) as caught:
        match([], _config(path), tmp_path)
    assert "Erika" not in str(caught.value)


def test_a_file_named_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("name,pid\na.png,1\nb.png,1\n./a.png,2\n")
    config = MetadataConfig(path=str(path), columns=MetadataColumns(file="name", patient_id="pid"))
    with pytest.raises(ConfigError, match=r"names a file twice \(rows 1 and 3\)"):
        match(["/x/b.png"], config, tmp_path)


def test_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes("accession;report\nA;Fraktur, distal – nein\n".encode("cp1252"))
    config = ReportsConfig(path=str(path), encoding="cp1252", delimiter=";")
    assert reports(config, tmp_path) == {study("A"): "Fraktur, distal – nein"}


def test_reports_of_one_study_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text('accession,report\nB,second\nA,"line one\nline two"\n B,addendum\nB,second\n,lost\nC,  \n')
    texts = reports(ReportsConfig(path=str(path)), tmp_path)
    assert texts == {study("A"): "line one\nline two", study("B"): "second\n\naddendum"}


def test_digest_follows_the_bytes(tmp_path: Path) -> None:
    one, same = _csv(tmp_path / "1.csv"), _csv(tmp_path / "2.csv")
    other = _csv(tmp_path / "3.csv", mark="\ufeff")
    digests = [tablefile.file_digest(_config(p)) for p in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]
    assert tablefile.file_digest(MetadataConfig()) == ""


def test_real_metadata(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "grazpedwri"
    columns = MetadataColumns(file="filestem", patient_id="patient_id", laterality="laterality", view="projection")
    config = _config(folder / "dataset.csv", columns=columns)
    known = match(sorted(str(f) for f in folder.glob("*.png")), config, tmp_path)
    assert [k["view"] for k in known] == ["pa", "pa", "pa", "lateral", "pa", "pa"]
    assert [k["laterality"] for k in known] == ["left", "right", "left", "left", "right", "right"]
