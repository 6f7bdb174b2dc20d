"""Publishing: on disk, and against a real S3 server process."""

import json
import os
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, NotPublished, SchemaError
from wristmir_ray.schemas import CROPS, PREPROCESSED, REPORTS
from wristmir_ray.storage import Manifest
from wristmir_ray.tables import conform


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "disk":
        return str(tmp_path)
    for name, value in empty_bucket(request.getfixturevalue("s3_endpoint")).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/tables"


def _publish(root: str, run_id: str, texts: list[str]) -> Manifest:
    table = conform({"report_id": [f"r{i}" for i in range(len(texts))], "text": texts}, REPORTS)
    file = storage.join(storage.run_uri(root, "reports", run_id), "r0.parquet")
    storage.write_parquet(table, file, 2)
    manifest = Manifest("reports", run_id, "test", rows=len(texts), schema=REPORTS.fingerprint, files=["r0.parquet"])
    return storage.publish(root, manifest)


def test_nothing_exists_before_its_manifest(root: str) -> None:
    storage.write_bytes(storage.join(storage.run_uri(root, "reports", "one"), "r0.parquet"), b"half a run")
    with pytest.raises(NotPublished, match="reports"):
        storage.published(root, "reports")
    with pytest.raises(NotPublished, match="never finished"):
        storage.published(root, "reports", "one")
    assert storage.find_run(root, "reports", "one") is None


def test_readers_get_the_current_run_or_the_pinned_one(root: str) -> None:
    _publish(root, "one", ["a"])
    _publish(root, "two", ["a", "b"])
    assert storage.published(root, "reports").run_id == "two"
    assert storage.read_table(root, REPORTS)["text"].to_pylist() == ["a", "b"]
    assert storage.read_table(root, REPORTS, run_id="one")["text"].to_pylist() == ["a"]
    assert storage.read_table(root, REPORTS, columns=["report_id"]).column_names == ["report_id"]


def test_another_schema_is_refused(root: str) -> None:
    manifest = _publish(root, "one", ["a"])
    storage.publish(root, Manifest(**{**manifest.__dict__, "schema": "older"}))
    with pytest.raises(SchemaError, match="another schema"):
        storage.read_table(root, REPORTS)


def test_list_and_delete(root: str) -> None:
    _publish(root, "one", ["a"])
    assert [f.rsplit("/", 1)[1] for f in storage.list_files(storage.join(root, "reports"), ".parquet")] == [
        "r0.parquet"
    ]
    storage.delete_tree(storage.join(root, "reports"))
    assert storage.list_files(storage.join(root, "reports")) == []
    storage.delete_tree(storage.join(root, "reports"))


def test_a_moved_pointer_is_not_overwritten_blindly(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs publish at once: on S3 the second sees the precondition fail and moves the newer pointer."""
    _publish(root, "one", ["a"])
    _publish(root, "two", ["b"])
    if not storage.is_s3(root):
        storage.point_to(root, "reports", "one")
        assert storage.published(root, "reports").run_id == "one"
        return
    import boto3
    from botocore.exceptions import ClientError

    client, bucket, key = storage.s3_client(storage.join(root, "reports", storage.POINTER))
    old = client.head_object(Bucket=bucket, Key=key)["ETag"]
    storage.point_to(root, "reports", "one")
    with pytest.raises(ClientError, match=r"PreconditionFailed|pre-condition"):
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}", IfMatch=old)
    assert json.loads(storage.read_bytes(f"s3://{bucket}/{key}"))["run_id"] == "one"


def test_single_rows_are_found_without_a_scan(root: str) -> None:
    keys = [f"exam{i:03d}" for i in range(0, 200, 2)]
    table = conform({"exam_id": keys, "region": ["wrist"] * 100, "png": [k.encode() for k in keys]}, CROPS)
    storage.write_parquet(table, storage.join(storage.run_uri(root, "crops", "one"), "a.parquet"), 8)
    storage.publish(root, Manifest("crops", "one", "test", rows=100, schema=CROPS.fingerprint, files=["a.parquet"]))
    reader = storage.KeyedReader(root, CROPS)
    assert [r["png"] for r in reader.rows("exam042")] == [b"exam042"]
    assert reader.rows("exam043") == []
    assert reader.rows("") == []


def test_rows_of_one_key_are_found_in_every_group_and_file_that_holds_them(root: str) -> None:
    regions = list(Region)
    rows = [{"exam_id": f"exam{i:03d}", "region": r, "png": f"{i} {r}".encode()} for i in range(50) for r in regions]
    files = {"a.parquet": rows[:90], "b.parquet": rows[90:]}  # an exam lies in both
    for name, part in files.items():
        storage.write_parquet(conform(part, CROPS), storage.join(storage.run_uri(root, "crops", "one"), name), 6)
    storage.publish(root, Manifest("crops", "one", "test", schema=CROPS.fingerprint, files=["b.parquet", "a.parquet"]))
    reader = storage.KeyedReader(root, CROPS)
    for i in range(50):
        assert [r["png"] for r in reader.rows(f"exam{i:03d}")] == [f"{i} {r}".encode() for r in regions]
    assert reader.rows("exam0225") == reader.rows("exam999") == []


def test_an_unwritable_root_is_named_before_any_work(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ConfigError, match="cannot write to root"):
        storage.check_writable(str(blocked / "below"))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        storage.write_bytes(str(tmp_path / "x"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_the_pointer_moves_in_time(tmp_path: Path) -> None:
    _publish(str(tmp_path), "one", ["a"])
    assert time.strptime(storage.published(str(tmp_path), "reports").created, "%Y-%m-%dT%H:%M:%SZ")


def test_what_is_written_can_be_read_by_whom_the_umask_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    storage.write_bytes(str(tmp_path / "ours"), b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_pixels_are_stored_as_they_are_and_text_is_compressed(tmp_path: Path) -> None:
    regions = [{"region": "wrist", "png": bytes(2000)}]
    rows = conform([{"source_id": "s", "exam_id": "e", "split": "train", "regions": regions}], PREPROCESSED)
    storage.write_parquet(rows, str(tmp_path / "x.parquet"), 8)
    group = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    blob = columns.pop("regions.list.element.png")
    assert blob.compression == "UNCOMPRESSED"
    assert not blob.is_stats_set
    assert "RLE_DICTIONARY" not in blob.encodings
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    assert columns["source_id"].is_stats_set
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == rows.to_pylist()


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        storage.check_root(str(tmp_path / "file"))
    storage.check_root(str(tmp_path))
    storage.check_root(str(tmp_path / "not" / "yet"))


def test_a_store_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="cannot reach root s3://bucket/x"):
        storage.check_root("s3://bucket/x")


def test_the_size_of_files_together(root: str) -> None:
    _publish(root, "one", ["a"])
    files = storage.table_files(root, storage.published(root, "reports"))
    assert storage.total_bytes(files) == len(storage.read_bytes(files[0]))
    assert storage.total_bytes([]) == 0
    with pytest.raises(FileNotFoundError, match="is gone"):
        storage.total_bytes([*files, storage.join(root, "gone.parquet")])
