"""A job runs on a cluster as a user starts it: `ray job submit -- python jobs/ingest.py ...`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPO
from tests.integration.local_head import environment, local_head
from tests.integration.test_mine_reports import publish
from wristmir_ray import keys, storage
from wristmir_ray.imaging.crop import encode_png
from wristmir_ray.schemas import CAPTIONS, EXAMS, FINDINGS, REPORTS

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small radiographs, a text file, and their table."""
    folder = tmp_path_factory.mktemp("archive")
    random = np.random.default_rng(0)
    rows = ["file,patient_id,accession,laterality,view,age_years,sex,study_date"]
    for i in range(2):
        (folder / f"{i}.png").write_bytes(encode_png(random.integers(0, 255, (80, 60), np.uint8)))
        rows.append(f"{i}.png,P{i},A{i},left,pa,9.5,female,2020-01-0{i + 1}")
    (folder / "2.dcm").write_text("not an image")
    (folder.parent / "metadata.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_head(REPO) as head:
        yield head.dashboard


def submit(address: str, *entrypoint: str) -> "subprocess.CompletedProcess[str]":
    command = ["ray", "job", "submit", "--address", address, "--", *entrypoint]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)


def test_a_submitted_job_publishes_its_table(address: str, archive: Path, tmp_path: Path) -> None:
    settings = [
        "--root",
        str(tmp_path),
        "--images",
        str(archive),
        "--metadata.path",
        str(archive.parent / "metadata.csv"),
    ]
    settings += ["--reports.path", "null", "--max_reject_share", "0.5"]
    done = submit(address, "python", "jobs/ingest.py", *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout + done.stderr
    manifest = storage.published(str(tmp_path), EXAMS.name)
    assert (manifest.rows, sum(manifest.rejects.values())) == (3, 1)
    exams = storage.read_table(str(tmp_path), EXAMS)
    assert exams["laterality"].to_pylist() == ["left", "left"]


@pytest.mark.slow
def test_reports_are_mined_by_a_submitted_job(address: str, tmp_path: Path) -> None:
    text = "Left wrist. FINDINGS: Buckle fracture of the distal radius."
    report = keys.report_id(text)
    publish(tmp_path, REPORTS, [{"report_id": report, "text": text}])
    publish(tmp_path, EXAMS, [{"source_id": "s", "exam_id": "e", "report_id": report, "split": "test"}])
    done = submit(address, "python", "jobs/mine_reports.py", "--root", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("mine_reports: done", "reports_per_s", "share_ok: 1.0", "share_ungrounded: 0.0"):
        assert line in done.stdout
    assert text not in done.stdout + done.stderr
    (finding,) = storage.read_table(str(tmp_path), FINDINGS)["findings"].to_pylist()[0]
    assert (finding["region"], finding["fracture_type"]) == ("distal_radius", "buckle")
    assert storage.read_table(str(tmp_path), CAPTIONS).num_rows == 4


@pytest.mark.slow
def test_a_job_that_fails_says_so(address: str, tmp_path: Path) -> None:
    done = submit(address, "python", "jobs/ingest.py", "--root", str(tmp_path), "--images", str(tmp_path / "missing"))
    assert done.returncode != 0
    assert "failed" in done.stdout + done.stderr
    assert not storage.exists(storage.join(str(tmp_path), EXAMS.name, storage.POINTER))
