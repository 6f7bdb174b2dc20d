"""Ingest from DICOMweb servers: a real one (Orthanc), and one that fails as it is told."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from jobs import ingest
from tests import orthanc
from tests.fakes import counting_decode
from tests.scripted_dicomweb import Script, scripted_dicomweb
from tests.unit.imaging import samples
from wristmir_ray import dicomweb, storage
from wristmir_ray.ingest import qido
from wristmir_ray.ingest.config import IngestConfig, MetadataColumns, MetadataConfig
from wristmir_ray.ingest.pipeline import run
from wristmir_ray.job import Summary
from wristmir_ray.schemas import EXAMS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def instance(n: int, syntax: str = uid.ExplicitVRLittleEndian, **more: Any) -> bytes:
    picture = np.roll(samples.pixels(12, 40, 40), n, axis=1)
    uids = {"SOPInstanceUID": f"1.2.3.{n}", "SeriesInstanceUID": f"1.2.4.{n}", "StudyInstanceUID": f"1.2.5.{n // 2}"}
    ds = samples.dataset(picture, **uids, PatientID=f"P{n // 2}", AccessionNumber=f"A{n // 2}", **more)
    return samples.write(ds, syntax, samples.frame(picture, syntax) if syntax == uid.JPEG2000Lossless else None)


def run_counted(config: IngestConfig, folder: Path) -> tuple[Summary, int]:
    log = folder / "decoded"
    log.write_text("")
    summary = run(config, partial(counting_decode, log=str(log)))
    return summary, len(log.read_text().split())


def rows_of(root: str) -> dict[str, dict[str, Any]]:
    """Last part of the address -> row, without what names the place."""
    rows = storage.read_table(root, EXAMS, good_only=False).to_pylist()
    return {r.pop("source_uri").rpartition("/")[2].removesuffix(".dcm"): {**r, "source_id": None} for r in rows}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[orthanc.Orthanc]:
    if orthanc.binary() is None:
        pytest.skip("no Orthanc with its DICOMweb plugin here: apt-get install orthanc orthanc-dicomweb")
    monkeypatch.setenv(dicomweb.USER, orthanc.USER)
    monkeypatch.setenv(dicomweb.PASSWORD, orthanc.PASSWORD)
    (tmp_path / "orthanc").mkdir()
    with orthanc.orthanc(tmp_path / "orthanc") as running:
        yield running


def test_a_real_server_gives_what_a_folder_gives(server: orthanc.Orthanc, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(10):
        syntax = uid.JPEG2000Lossless if n == 4 else uid.ExplicitVRLittleEndian
        more: dict[str, Any] = {"ViewPosition": "LL"} if n == 5 else {}
        data = instance(n, syntax, **more)
        server.store(data)
        (folder / f"1.2.3.{n}.dcm").write_bytes(data)
    server.store(instance(50, Modality="CT"))
    server.store(instance(51, BodyPartExamined="CHEST"))
    server.store(instance(52, StudyDate="19990101"))
    (tmp_path / "m.csv").write_text("uid,age\n1.2.3.2,14\n")
    shared: dict[str, Any] = {
        "metadata": MetadataConfig(path=str(tmp_path / "m.csv"), columns=MetadataColumns(file="uid", age_years="age")),
        "fragment_rows": 4,
    }
    asked = {"body_parts": ["WRIST"], "study_date_from": "2020-01-01", "study_date_to": "2024-12-31", "page_size": 3}
    there = IngestConfig(root=str(tmp_path / "there"), images=server.images, dicomweb=asked, **shared)
    here = IngestConfig(root=str(tmp_path / "here"), images=str(folder), **shared)
    summary, decoded = run_counted(there, tmp_path)
    run(here)
    assert (summary.rows, decoded) == (10, 10)
    rows = rows_of(there.root)
    assert rows == rows_of(here.root)
    assert rows["1.2.3.2"]["conflicts"] == ["age_years"]
    assert {n for n, r in rows.items() if r["error"]} == {"1.2.3.5"}

    server.store(instance(10))
    server.store(instance(3, PatientSex="M"))  # the archive corrects a header
    server.delete("1.2.3.7")
    summary, decoded = run_counted(there, tmp_path)
    assert (summary.facts["objects"], summary.facts["taken_over"], decoded) == (10, 8, 2)
    rows = rows_of(there.root)
    assert rows["1.2.3.3"]["sex"] == "male"
    assert "1.2.3.7" not in rows
    summary, decoded = run_counted(there, tmp_path)
    assert (summary.skipped, decoded) == (True, 0)
    exam = storage.read_table(there.root, EXAMS).to_pylist()[0]
    assert storage.read_bytes(exam["source_uri"])[128:132] == b"DICM"


@pytest.mark.parametrize("wrong", ["password", "path", "filters"])
def test_a_real_server_that_cannot_be_listed_is_one_line(
    server: orthanc.Orthanc,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    wrong: str,
) -> None:
    server.store(instance(1))
    images = server.images
    if wrong == "password":
        monkeypatch.setenv(dicomweb.PASSWORD, "another")
    if wrong == "path":
        images = images.replace("dicom-web", "nowhere")
    more = ["--dicomweb.body_parts", "[ANKLE]"] if wrong == "filters" else []
    _is_one_line(
        images, tmp_path, capfd, {"password": dicomweb.TOKEN, "path": "404", "filters": "filters"}[wrong], more
    )


def test_a_server_that_is_away_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _is_one_line("dicomweb+http://127.0.0.1:1/x", tmp_path, capfd, "does not answer", ["--dicomweb.attempts", "1"])


def _is_one_line(images: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], word: str, more: list[str]) -> None:
    nothing = ["--metadata.path", "null", "--reports.path", "null"]
    capfd.readouterr()
    assert ingest.main(["--root", str(tmp_path / "root"), "--images", images, *nothing, *more]) == 2
    said = capfd.readouterr().err
    assert word in said
    assert len(said.strip().splitlines()) == 1
    assert "1.2.3" not in said
    assert not (tmp_path / "root").exists()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(
        qido, "access", lambda c: dicomweb.from_environment(timeout_s=5, attempts=c.attempts, first_wait_s=0.01)
    )
    with scripted_dicomweb(Script({f"9.{n}": instance(n) for n in range(12)})) as running:
        yield running


def _scripted(script: Script, tmp_path: Path, **dicomweb_settings: Any) -> IngestConfig:
    return IngestConfig(
        root=str(tmp_path / "root"),
        images=f"dicomweb+{script.url}",
        dicomweb={"modalities": [], "attempts": 2, **dicomweb_settings},
        fragment_rows=4,
        max_file_mib=1,
    )


def test_a_failing_instance_is_a_row_and_is_tried_again(script: Script, tmp_path: Path) -> None:
    script.failures = {"9.3": [503, 503], "9.4": [404] * 9, "9.5": [500]}
    script.instances["9.6"] = bytes(2**21)
    config = _scripted(script, tmp_path)
    first, decoded = run_counted(config, tmp_path)
    assert first.rejects == {"source_unreadable": 2, "image_too_large": 1}
    assert decoded == 9
    assert rows_of(config.root)["9.3"]["error"] == "source_unreadable"
    second, decoded = run_counted(config, tmp_path)
    assert (decoded, second.facts["taken_over"], second.rejects["source_unreadable"]) == (1, 10, 1)
    third, decoded = run_counted(config, tmp_path)
    assert (decoded, third.runs["exams"]) == (0, second.runs["exams"]), "the same failure, the same tables"
    assert script.asked["9.6"] == 1
    raised, decoded = run_counted(config.with_(max_file_mib=4), tmp_path)
    assert (decoded, script.asked["9.6"]) == (1, 2), "another limit admits it"
    assert raised.rejects == {"source_unreadable": 1, "unknown_format": 1}


@pytest.mark.parametrize("limit", [1, 3, 16])
def test_no_more_requests_at_a_time_than_allowed(script: Script, tmp_path: Path, limit: int) -> None:
    script.instances = {f"9.{n}": instance(n) for n in range(40)}
    config = _scripted(script, tmp_path, max_connections=limit)
    run(config)
    assert 0 < script.most_at_once <= limit
    assert storage.read_table(config.root, EXAMS).num_rows == 40
