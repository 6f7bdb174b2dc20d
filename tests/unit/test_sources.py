"""One image that cannot be read is a row; a store that is away ends the run."""

from pathlib import Path

import pytest

from tests.s3_server import BUCKET, empty_bucket, s3_server
from tests.scripted_dicomweb import Script, scripted_dicomweb
from wristmir_ray import dicomweb, storage
from wristmir_ray.errors import ErrorCode, Reject, StoreFailed, reject_columns
from wristmir_ray.sources import read_source

QUICK = dicomweb.Access(attempts=1, timeout_s=5)


def rejected(uri: str, access: dicomweb.Access | None = None) -> ErrorCode:
    with pytest.raises(Reject) as caught:
        read_source(uri, access)
    return caught.value.code


def test_a_file_that_is_gone_or_a_folder_is_a_row(tmp_path: Path) -> None:
    assert rejected(str(tmp_path / "gone.png")) == ErrorCode.SOURCE_UNREADABLE
    assert rejected(str(tmp_path)) == ErrorCode.SOURCE_UNREADABLE


def test_an_object_that_is_gone_is_a_row_and_a_dead_store_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as endpoint:
        for name, value in {**empty_bucket(endpoint), "AWS_MAX_ATTEMPTS": "1"}.items():
            monkeypatch.setenv(name, value)
        storage.write_bytes(f"s3://{BUCKET}/here.png", b"pixels")
        assert read_source(f"s3://{BUCKET}/here.png") == b"pixels"
        assert rejected(f"s3://{BUCKET}/gone.png") == ErrorCode.SOURCE_UNREADABLE
    with pytest.raises(StoreFailed, match=r"the store of the images is away \(\w+\).*goes on where it stopped"):
        read_source(f"s3://{BUCKET}/here.png")


def test_a_dicomweb_instance_is_a_row_where_its_server_answers() -> None:
    with scripted_dicomweb(Script({"7": b"DICOM"}, failures={"8": [500] * 9})) as script:
        assert read_source(script.address("7"), QUICK) == b"DICOM"
        assert rejected(script.address("6"), QUICK) == ErrorCode.SOURCE_UNREADABLE
        assert rejected(script.address("8"), QUICK) == ErrorCode.SOURCE_UNREADABLE, "one bad instance ends no run"
    with pytest.raises(StoreFailed, match=r"away \(ConnectionError\)"):
        read_source("dicomweb+http://127.0.0.1:9/pacs/studies/1.2/series/1.3/instances/1.4", QUICK)


def test_a_dicomweb_server_that_no_longer_knows_us_is_away() -> None:
    with (
        scripted_dicomweb(Script({"7": b"DICOM"}, authorization="Bearer right")) as script,
        pytest.raises(StoreFailed, match=r"away \(HTTP status 401\)"),
    ):
        read_source(script.address("7"), QUICK)


def test_a_failed_store_is_never_a_row() -> None:
    with pytest.raises(StoreFailed):
        reject_columns(StoreFailed("the disk is full"), "decode")


def test_what_a_reader_says_of_a_store_is_recognised() -> None:
    told = storage.failure(
        OSError("When reading information for key 'k': AWS Error NETWORK_CONNECTION during HeadObject")
    )
    assert told is not None
    assert "NETWORK_CONNECTION" in str(told)
    assert "'k'" not in str(told)
    assert storage.failure(OSError("anything else")) is None
    assert storage.failure(ValueError("AWS Error ACCESS_DENIED")) is None


def test_a_write_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFailed, match=r"cannot write .*/file/x \((Not a directory|File exists)\); make room"):
        storage.write_bytes(str(tmp_path / "file" / "x"), b"data")
