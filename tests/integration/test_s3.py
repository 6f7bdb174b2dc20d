"""Jobs whose root is a bucket of a real S3 server give the tables that a folder gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.schemas import CAPTIONS, EXAMS, FINDINGS, REPORTS

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def run_job(name: str, *settings: str) -> str:
    argv = [sys.executable, str(REPO / "jobs" / f"{name}.py"), *settings]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_ingest_and_mining_on_a_bucket(tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    phantoms = tmp_path / "phantoms"
    run_job("make_phantoms", "--out", str(phantoms), "--exams", "24", "--sealed_reports", "0")
    where = ["--images", f"{phantoms}/images", "--metadata.path", f"{phantoms}/metadata.csv"]
    where += ["--reports.path", f"{phantoms}/reports.csv"]
    roots = {"bucket": f"s3://{BUCKET}/archive", "folder": str(tmp_path / "archive")}
    for root in roots.values():
        run_job("ingest", "--root", root, *where)
        run_job("mine_reports", "--root", root)
    for table in (EXAMS, REPORTS, FINDINGS, CAPTIONS):
        ours, theirs = (storage.read_table(root, table, good_only=False) for root in roots.values())
        assert ours.num_rows
        assert ours.equals(theirs)
    assert "already published" in run_job("ingest", "--root", roots["bucket"], *where)


def test_images_in_a_bucket_are_read_once(tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    phantoms = tmp_path / "phantoms"
    run_job("make_phantoms", "--out", str(phantoms), "--exams", "12", "--sealed_reports", "0")
    files = sorted((phantoms / "images").iterdir())
    images = f"s3://{BUCKET}/hospital/images"
    tables = []
    for name in ("metadata", "reports"):
        storage.write_bytes(f"s3://{BUCKET}/hospital/{name}.csv", (phantoms / f"{name}.csv").read_bytes())
        tables += [f"--{name}.path", f"s3://{BUCKET}/hospital/{name}.csv"]
    root = str(tmp_path / "archive")
    for some, told in ((files[:8], "read: 8"), (files[8:], "read: 4")):
        for file in some:
            storage.write_bytes(f"{images}/{file.name}", file.read_bytes())
        assert told in run_job("ingest", "--root", root, "--images", images, *tables)
    storage.write_bytes(f"{images}/{files[0].name}", files[0].read_bytes())  # written again, the same bytes
    assert "already published" in run_job("ingest", "--root", root, "--images", images, *tables)
    run_job("ingest", "--root", str(tmp_path / "folder"), "--images", str(phantoms / "images"), *tables)
    place = ["source_id", "source_uri"]
    ours, theirs = (
        storage.read_table(r, EXAMS, good_only=False).sort_by("exam_id").drop_columns(place)
        for r in (root, str(tmp_path / "folder"))
    )
    assert ours.num_rows == 12
    assert ours.equals(theirs)
