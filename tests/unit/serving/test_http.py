"""The HTTP face over a fake graph: forms, limits, problems."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.unit.serving.fake_graph import EXAM, FakeGraph
from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, http, problems
from wristmir_ray.serving.http import create_http

IMAGE = {"image": ("wrist.png", b"pixels")}


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def client(graph: FakeGraph) -> Iterator[TestClient]:
    with TestClient(create_http(graph), raise_server_exceptions=False) as client:
        yield client


def problem_of(answer: object, status: int, code: str) -> api.Problem:
    assert answer.status_code == status, answer.text  # type: ignore[attr-defined]
    assert answer.headers["content-type"] == problems.MEDIA_TYPE  # type: ignore[attr-defined]
    found = api.Problem.model_validate_json(answer.content)  # type: ignore[attr-defined]
    assert (found.status, found.code) == (status, code)
    return found


def test_an_image_is_searched_by_default_for_the_radius_in_two_stages(client: TestClient, graph: FakeGraph) -> None:
    answer = client.post("/v1/search", files=IMAGE)
    assert answer.status_code == 200
    found = api.SearchAnswer.model_validate_json(answer.content)
    assert [h.exam_id for h in found.hits] == [EXAM]
    assert set(found.stage_ms) == {"decode", "detect", "encode", "coarse", "rerank", "total"}
    assert set(found.query_boxes) == set(Region)
    assert graph.encoded == [b"wrist", b"distal_radius"]
    asked = graph.asked[0].parameters
    assert (asked.region, asked.mode, asked.pool, asked.k) == (Region.DISTAL_RADIUS, api.Mode.TWO_STAGE, 100, 10)


def test_fields_reach_the_search(client: TestClient, graph: FakeGraph) -> None:
    form = {"region": "ulnar_styloid", "mode": "region", "k": "3", "laterality": "left", "age_min": "4", "age_max": "6"}
    assert client.post("/v1/search", files=IMAGE, data=form).status_code == 200
    asked = graph.asked[0].parameters
    assert asked == api.SearchParameters.model_validate(form)
    assert (asked.laterality, asked.age_min, asked.age_max, asked.sex) == ("left", 4, 6, None)


def test_an_exam_of_the_archive_needs_no_encoding(client: TestClient, graph: FakeGraph) -> None:
    assert client.post("/v1/search", data={"exam_id": EXAM}).status_code == 200
    assert graph.asked[0].exam_id == EXAM
    assert graph.encoded == []


def test_a_token_stands_for_a_query(client: TestClient, graph: FakeGraph) -> None:
    assert client.post("/v1/search", data={"token": "abc", "deadline_s": "2"}).status_code == 200
    (asked,) = graph.asked
    assert (asked.token, asked.exam_id, dict(asked.vectors)) == ("abc", None, {})
    assert asked.seconds is not None
    assert 0 < asked.seconds <= 2
    both = client.post("/v1/search", data={"token": "abc", "exam_id": EXAM})
    assert "exactly one" in problem_of(both, 422, "invalid_request").detail
    problem_of(client.post("/v1/search", data={"token": "abc", "deadline_s": "16"}), 422, "invalid_request")


def test_what_is_spent_on_an_upload_is_not_left_until_the_deadline(client: TestClient, graph: FakeGraph) -> None:
    assert client.post("/v1/search", files=IMAGE, data={"deadline_s": "1e-9"}).status_code == 200
    assert client.post("/v1/search", files=IMAGE).status_code == 200
    assert [q.seconds for q in graph.asked] == [0.0, None]
    assert set(graph.asked[0].boxes) == set(Region)


def test_metrics_tell_what_bones_has_computed(client: TestClient) -> None:
    assert 'wristmir_computed_regions{figure="computed"} 3.0' in client.get("/metrics").text


def test_a_text_stands_for_wrist_and_region(client: TestClient, graph: FakeGraph) -> None:
    form = {"text": "buckle fracture", "region": "distal_ulna", "mode": "region"}
    assert client.post("/v1/search", data=form).status_code == 200
    assert graph.encoded == ["buckle fracture"]
    assert set(graph.asked[0].vectors) == {Region.WRIST, Region.DISTAL_ULNA}


def test_a_bone_that_is_not_found_is_not_encoded(graph: FakeGraph, client: TestClient) -> None:
    graph.regions = (Region.WRIST,)
    assert client.post("/v1/search", files=IMAGE).status_code == 200
    assert set(graph.asked[0].vectors) == {Region.WRIST}


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({}, "exactly one"),
        ({"exam_id": EXAM, "text": "x"}, "exactly one"),
        ({"exam_id": "../../etc/passwd"}, "exam_id"),
        ({"exam_id": EXAM, "k": "0"}, "k"),
        ({"exam_id": EXAM, "k": "many"}, "k"),
        ({"exam_id": EXAM, "pool": "5"}, "pool"),
        ({"exam_id": EXAM, "region": "femur"}, "region"),
        ({"exam_id": EXAM, "region": "wrist"}, "two_stage"),
        ({"exam_id": EXAM, "age_min": "9", "age_max": "3"}, "age_min"),
        ({"exam_id": EXAM, "age_min": "nan"}, "age_min"),
        ({"exam_id": EXAM, "image_url": "http://somewhere/x.png"}, "image_url"),
        ({"image": "a path, not a file"}, "image"),
    ],
)
def test_a_bad_form_is_422_and_names_the_field(client: TestClient, form: dict[str, str], word: str) -> None:
    found = problem_of(client.post("/v1/search", data=form), 422, "invalid_request")
    assert word in found.detail


@pytest.mark.parametrize(
    ("sent", "word"),
    [
        ({"params": {"region": "ulnar_styloid"}, "data": {"exam_id": EXAM}}, "fields of the form"),
        ({"json": {"exam_id": EXAM}}, "/v1/batch-search"),
        ({"content": b"exam_id", "headers": {"content-type": "text/plain"}}, "multipart/form-data"),
        ({"data": {"exam_id": EXAM, "k": ["3", "4"]}}, "twice"),
        ({"files": [("image", ("a.png", b"a")), ("image", ("b.png", b"b"))]}, "twice"),
        ({"data": {"image": "wrist.png"}}, "-F image=@FILE"),
        ({"data": {"exam_id": EXAM, "date_from": "1420070400"}}, "date_from: a date is YYYY-MM-DD"),
        ({"data": {"exam_id": EXAM, "date_from": "20150101"}}, "date_from: a date is YYYY-MM-DD"),
        ({"data": {"exam_id": EXAM, "age_min": "nan"}}, "age_min: Input should be a finite number"),
    ],
)
def test_what_does_not_stand_in_the_form_is_not_passed_over(
    client: TestClient, graph: FakeGraph, sent: dict[str, Any], word: str
) -> None:
    found = problem_of(client.post("/v1/search", **sent), 422, "invalid_request")
    assert word in found.detail
    assert not graph.asked


def test_what_was_sent_is_not_repeated(client: TestClient) -> None:
    answer = client.post("/v1/search", data={"text": "x", "sex": "Jane Doe", "secret_field": "Jane Doe"})
    assert answer.status_code == 422
    assert "Jane" not in answer.text


def test_a_broken_body_is_422(client: TestClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    problem_of(client.post("/v1/search", content=b"junk", headers=headers), 422, "invalid_request")


def test_a_declared_size_above_the_limit_is_413(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"content-length": str(http.MAX_BODY_BYTES + 1), "content-type": "multipart/form-data; boundary=x"}
    problem_of(client.post("/v1/search", content=b"", headers=headers), 413, "upload_too_large")


def test_an_undeclared_size_above_the_limit_is_413(graph: FakeGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 10_000)
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks = (head, *[b"0" * 5_000] * 4, b"\r\n--x--\r\n")
    with TestClient(create_http(graph), raise_server_exceptions=False) as client:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post("/v1/search", content=iter(chunks), headers=headers)
    problem_of(answer, 413, "upload_too_large")
    assert graph.asked == []


def test_an_image_above_the_limit_is_413(client: TestClient, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_UPLOAD_BYTES", 3)
    problem_of(client.post("/v1/search", files=IMAGE), 413, "upload_too_large")
    assert graph.asked == []


def test_an_archive_that_is_not_ready_is_503_with_a_hint(client: TestClient, graph: FakeGraph) -> None:
    graph.problem = problems.unavailable("not_ready", "no index is loaded yet")
    for answer in (client.get("/readyz"), client.get("/v1/archives"), client.post("/v1/search", files=IMAGE)):
        problem_of(answer, 503, "not_ready")
        assert answer.headers["retry-after"] == "1"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_fault_shows_no_trace_and_no_path(
    client: TestClient, graph: FakeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_self: FakeGraph) -> api.ArchiveSummary:
        raise RuntimeError("/secret/path: Traceback")

    monkeypatch.setattr(FakeGraph, "archive", broken)
    answer = client.get("/v1/archives")
    problem_of(answer, 500, "internal_error")
    assert "secret" not in answer.text


def test_exams_and_crops(client: TestClient) -> None:
    assert client.get(f"/v1/exams/{EXAM}").json()["exam_id"] == EXAM
    crop = client.get(f"/v1/exams/{EXAM}/crops/wrist")
    assert (crop.headers["content-type"], crop.content) == ("image/png", b"\x89PNG")
    problem_of(client.get(f"/v1/exams/{'f' * 32}"), 404, "unknown_exam")
    problem_of(client.get(f"/v1/exams/{EXAM}/crops/distal_ulna"), 404, "no_region")
    problem_of(client.get(f"/v1/exams/{EXAM}/crops/femur"), 422, "invalid_request")
    problem_of(client.get("/v1/exams/..%2F..%2Fetc"), 404, "unknown_address")


def test_an_image_has_a_tag_and_is_sent_once(client: TestClient) -> None:
    first = client.get(f"/v1/exams/{EXAM}/image", params={"max_side": 512})
    assert (first.status_code, first.headers["content-type"], first.content) == (200, "image/png", b"\x89PNG image")
    assert first.headers["cache-control"] == "private, max-age=3600"
    held = {"If-None-Match": first.headers["etag"]}
    again = client.get(f"/v1/exams/{EXAM}/image", params={"max_side": 512}, headers=held)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get(f"/v1/exams/{EXAM}/image", headers=held).status_code == 200
    problem_of(client.get(f"/v1/exams/{'f' * 32}/image"), 404, "unknown_exam")


@pytest.mark.parametrize("max_side", ["0", "31", "8193", "-1", "1e9", "9" * 5_000, "NaN", "wide"])
def test_an_image_s_size_has_bounds(client: TestClient, max_side: str) -> None:
    found = problem_of(client.get(f"/v1/exams/{EXAM}/image", params={"max_side": max_side}), 422, "invalid_request")
    assert "max_side" in found.detail


def test_no_answer_stays_in_a_cache_unless_it_says_so(client: TestClient) -> None:
    for path in (f"/v1/exams/{EXAM}", "/v1/archives", "/nothing", f"/v1/exams/{'f' * 32}"):
        answer = client.get(path)
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")


def test_a_name_that_was_sent_is_cut_and_few_are_told(client: TestClient) -> None:
    found = problem_of(client.post("/v1/search", data={"n" * 10_000: "x"}), 422, "invalid_request")
    assert len(found.detail) < 300
    found = problem_of(client.post("/v1/search", data={f"f{n}": "x" for n in range(900)}), 422, "invalid_request")
    assert len(found.detail) < 1_000
    assert found.detail.endswith("more")


@pytest.mark.parametrize("charset", ["unicode_escape", "idna", "undefined", "zlib", "utf-16", "nonsense"])
def test_a_name_in_no_charset_is_422(client: TestClient, charset: str) -> None:
    """`unicode_escape` makes letters that no answer could hold."""
    body = b'--x\r\nContent-Disposition: form-data; name="\\ud800"\r\n\r\n\\ud800\r\n--x--\r\n'
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    problem_of(client.post("/v1/search", content=body, headers=headers), 422, "invalid_request")


def test_an_address_with_a_slash_too_many_leads_nowhere(client: TestClient) -> None:
    answer = client.get("/v1/archives/", headers={"host": "elsewhere.example"}, follow_redirects=False)
    problem_of(answer, 404, "unknown_address")


def test_a_form_without_files_is_small(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    for content in (b"&" * 100_000, iter([b"&" * 50_000] * 3)):
        answer = client.post("/v1/search", content=content, headers=headers)
        assert "multipart" in problem_of(answer, 413, "upload_too_large").detail


def test_a_length_of_thousands_of_digits_is_413(client: TestClient) -> None:
    headers = {"content-length": "9" * 5_000, "content-type": "multipart/form-data; boundary=x"}
    problem_of(client.post("/v1/search", content=b"", headers=headers), 413, "upload_too_large")


def test_unknown_addresses_and_methods_are_problems(client: TestClient) -> None:
    problem_of(client.get("/nothing"), 404, "unknown_address")
    assert "POST alone" in problem_of(client.get("/v1/search"), 405, "wrong_method").detail


def test_a_balancer_s_probe_may_ask_for_the_head_alone(client: TestClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
