"""A DICOMweb instance's bytes: addresses, credentials, patience, limits."""

import logging
from collections.abc import Iterator

import pytest

from tests.scripted_dicomweb import Script, scripted_dicomweb
from wristmir_ray import dicomweb, storage
from wristmir_ray.dicomweb import Access, address, is_dicomweb, read, server_of
from wristmir_ray.errors import ConfigError, Reject

QUICK = Access(timeout_s=5, attempts=3, first_wait_s=0.01)
DATA = bytes(range(256)) * 400 + b"\r\n--mar"


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_dicomweb(Script({"9.1": DATA})) as running:
        yield running


def test_the_bytes_are_the_servers(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert read(script.address("9.1"), QUICK) == DATA
    assert storage.read_bytes(script.address("9.1")) == DATA
    script.chunked = True
    assert read(script.address("9.1"), QUICK, max_bytes=len(DATA)) == DATA
    script.chunked, script.whole_body = False, True
    assert read(script.address("9.1"), QUICK) == DATA
    assert "9.1" not in caplog.text, "a UID stands in a log"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(script: Script, status: int) -> None:
    script.failures["9.1"] = [status, status]
    assert read(script.address("9.1"), QUICK) == DATA
    assert script.asked["9.1"] == 3


def test_a_body_that_breaks_off_is_read_again(script: Script) -> None:
    script.cut.add("9.1")
    assert read(script.address("9.1"), QUICK) == DATA
    assert script.asked["9.1"] == 2


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (400, 1), (503, 3)])
def test_what_fails_for_good_is_a_reject_that_quotes_nothing(script: Script, status: int, tries: int) -> None:
    script.failures["9.1"] = [status] * 9
    with pytest.raises(Reject) as caught:
        read(script.address("9.1"), QUICK)
    assert caught.value.code == "source_unreadable"
    assert str(status) in caught.value.message
    assert not any(word in str(caught.value) for word in ("9.1", "secret", "127.0.0.1"))
    assert script.asked["9.1"] == tries


def test_no_server_there() -> None:
    with pytest.raises(Reject, match="ConnectionError"):
        read("dicomweb+http://127.0.0.1:1/pacs/studies/1/series/2/instances/3", QUICK)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_instance_is_not_read_whole(script: Script, chunked: bool) -> None:
    script.chunked = chunked
    script.instances["9.2"] = bytes(2**20)
    with pytest.raises(Reject) as caught:
        read(script.address("9.2"), QUICK, max_bytes=1000)
    assert caught.value.code == "image_too_large"
    assert script.asked["9.2"] == 1


def test_credentials_come_from_the_environment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    script.authorization = "Bearer s3cret"
    with pytest.raises(Reject, match="401"):
        read(script.address("9.1"), QUICK)
    monkeypatch.setenv("WRISTMIR_DICOMWEB_TOKEN", "s3cret")
    monkeypatch.setenv("WRISTMIR_DICOMWEB_USER", "reader")
    access = dicomweb.from_environment(attempts=1)
    assert read(script.address("9.1"), access) == DATA
    assert "s3cret" not in repr(access)
    monkeypatch.delenv("WRISTMIR_DICOMWEB_TOKEN")
    monkeypatch.setenv("WRISTMIR_DICOMWEB_PASSWORD", "pw")
    script.authorization = "Basic cmVhZGVyOnB3"
    assert read(script.address("9.1"), dicomweb.from_environment(attempts=1)) == DATA


def test_addresses() -> None:
    uri = address("https://pacs.example:8443/dicom-web", "1.2", "3.4", "5.6")
    assert uri == "dicomweb+https://pacs.example:8443/dicom-web/studies/1.2/series/3.4/instances/5.6"
    assert is_dicomweb(uri)
    assert not is_dicomweb("https://pacs.example/dicom-web")
    assert server_of("dicomweb+http://pacs/dicom-web/") == "http://pacs/dicom-web"
    for bad in ("", "../../x", "1.2?a=b", "1/2"):
        with pytest.raises(ValueError, match="UID"):
            address("http://pacs", "1", "2", bad)
    with pytest.raises(Reject, match="no DICOMweb instance"):
        read("dicomweb+http://pacs/dicom-web", QUICK)


@pytest.mark.parametrize("uri", ["dicomweb+http://reader:pw@pacs/x", "dicomweb+http://", "dicomweb+http://pacs/x?y=z"])
def test_impossible_addresses_say_so_and_quote_nothing(uri: str) -> None:
    with pytest.raises(ConfigError, match="DICOMweb address") as caught:
        server_of(uri)
    assert "pw" not in str(caught.value)
