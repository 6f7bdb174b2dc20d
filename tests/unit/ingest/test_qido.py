"""A DICOMweb archive's list: pages, filters, stamps, and one clear line where there is none."""

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from tests.scripted_dicomweb import Script, scripted_dicomweb
from wristmir_ray import dicomweb
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest import qido
from wristmir_ray.ingest.config import DicomwebConfig
from wristmir_ray.ingest.listing import Found

KEY = b"sixteen and more bytes"


@pytest.fixture
def script() -> Iterator[Script]:
    with scripted_dicomweb(Script({f"9.{i}": b"" for i in range(7)})) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        qido, "access", lambda c: dicomweb.from_environment(timeout_s=5, attempts=c.attempts, first_wait_s=0.01)
    )


def find(script: Script, **settings: Any) -> list[Found]:
    config = DicomwebConfig(**{"modalities": [], **settings})
    return list(qido.list_instances(f"dicomweb+{script.url}", config, KEY))


@pytest.mark.parametrize(("page_size", "largest"), [(500, 1000), (3, 1000), (500, 2), (7, 7), (1, 1)])
def test_every_instance_once_whatever_the_pages(script: Script, page_size: int, largest: int) -> None:
    script.largest_page = largest
    found = find(script, page_size=page_size)
    assert [f.uri for f in found] == [script.address(f"9.{i}") for i in range(7)]
    assert {f.size for f in found} == {None}


def test_filters_are_asked_one_query_each(script: Script) -> None:
    find(
        script,
        modalities=["DX", "CR"],
        body_parts=["WRIST"],
        study_date_from=date(2020, 1, 1),
        study_date_to=date(2020, 1, 31),
        days_per_query=20,
    )
    names = ("Modality", "BodyPartExamined", "StudyDate")
    assert list(dict.fromkeys(tuple(q.get(n) for n in names) for q in script.queries)) == [
        ("DX", "WRIST", "20200101-20200120"),
        ("DX", "WRIST", "20200121-20200131"),
        ("CR", "WRIST", "20200101-20200120"),
        ("CR", "WRIST", "20200121-20200131"),
    ]


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({}, None),
        ({"study_date_from": date(2020, 1, 1)}, "20200101-"),
        ({"study_date_to": date(2020, 1, 1)}, "-20200101"),
    ],
)
def test_open_dates(script: Script, settings: dict[str, Any], asked: str | None) -> None:
    find(script, **settings)
    assert {q.get("StudyDate") for q in script.queries} == {asked}


def test_a_corrected_header_is_another_stamp_and_no_stamp_tells_it(script: Script) -> None:
    script.attributes["9.0"] = {"00100020": "MRN-7"}
    before = find(script)
    assert find(script) == before
    script.attributes["9.0"] = {"00100020": "MRN-8"}
    after = find(script)
    assert [a.uri for a, b in zip(after, before, strict=True) if a.stamp != b.stamp] == [script.address("9.0")]
    assert "MRN" not in str(before)
    other = list(qido.list_instances(f"dicomweb+{script.url}", DicomwebConfig(modalities=[]), b"another key"))
    assert other[0].stamp != after[0].stamp


def test_a_failure_that_passes_is_waited_for(script: Script) -> None:
    script.failures["query"] = [503, 502]
    assert len(find(script, attempts=3)) == 7


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ([401], r"HTTP status 401; .*WRISTMIR_DICOMWEB_TOKEN"),
        ([403], r"HTTP status 403; .*WRISTMIR_DICOMWEB_TOKEN"),
        ([404], r"HTTP status 404; check the path"),
        ([503, 503], "HTTP status 503"),
    ],
)
def test_a_server_that_refuses_is_one_line(script: Script, failures: list[int], message: str) -> None:
    script.failures["query"] = failures
    with pytest.raises(ConfigError, match=message) as caught:
        find(script, attempts=2)
    assert "secret" not in str(caught.value)
    assert script.url in str(caught.value)


def test_a_server_that_is_away_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:1/x cannot be listed: it does not answer"):
        list(qido.list_instances("dicomweb+http://127.0.0.1:1/x", DicomwebConfig(attempts=2), KEY))


def test_a_server_that_ignores_the_offset_does_not_go_on_forever(script: Script) -> None:
    script.ignores_offset = True
    with pytest.raises(ConfigError, match="same page twice"):
        find(script)


def test_nothing_found_is_said(script: Script) -> None:
    script.instances.clear()
    with pytest.raises(ConfigError, match="fits the filters"):
        find(script)


def test_an_answer_without_uids_is_said(script: Script) -> None:
    script.attributes["9.3"] = {"00080018": "../../etc"}
    with pytest.raises(ConfigError, match="without its UIDs"):
        find(script)


@pytest.mark.parametrize(
    "settings",
    [
        {"days_per_query": 7},
        {"days_per_query": 7, "study_date_from": date(2020, 1, 1)},
        {"study_date_from": date(2020, 1, 2), "study_date_to": date(2020, 1, 1)},
    ],
)
def test_impossible_dates(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"days_per_query|study_date"):
        DicomwebConfig(**settings)
