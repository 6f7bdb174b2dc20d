"""The http engine against a scripted server: real sockets, real retries."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from tests.scripted_endpoint import Script, report, scripted_endpoint
from wristmir_ray.errors import ConfigError, EndpointGone, EndpointRefuses
from wristmir_ray.mining.attempts import ANSWERS, judge_answers
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.mining.engines import protocol
from wristmir_ray.mining.engines.http import AskEndpoint, check_endpoint
from wristmir_ray.mining.engines.protocol import pause_s
from wristmir_ray.mining.isolation import MAX_DEATHS
from wristmir_ray.schemas import ATTEMPTS

WORDS = ("", "length", "loop", "prose", "enum", "mend", "busy", "down", "bad", "slow", "lie", "")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[str, Script]]:
    with scripted_endpoint(slow_s=4.0) as found:
        yield found


def config(url: str, **changes: Any) -> HttpConfig:
    given = {"timeout_s": 2.0, "retries": 2, "backoff_s": 0.01, "restart_wait_s": 0.1, **changes}
    return HttpConfig(url=url, **given)


def ask(url: str, texts: list[str], hints: list[str | None] | None = None, **changes: Any) -> list[dict[str, Any]]:
    rows = [
        {"report_id": f"r{i}", "text": t, "tokens_in": None, "tokens_cached": None, "tokens_out": None, "hint": h}
        for i, (t, h) in enumerate(zip(texts, hints or [None] * len(texts), strict=True))
    ]
    answers = AskEndpoint(config(url, **changes))(pa.Table.from_pylist(rows))
    assert answers.schema == ANSWERS
    judged = judge_answers(answers, lead={"engine": "http"}, attempt=2 if hints else 1)
    assert judged.schema == ATTEMPTS.schema
    return judged.to_pylist()


def test_every_failure_has_its_class_and_costs_no_neighbour(endpoint: tuple[str, Script]) -> None:
    url, script = endpoint
    rows = ask(url, [report(i, word) for i, word in enumerate(WORDS)])
    found = {word: (r["status"], r["failure_class"]) for word, r in zip(WORDS, rows, strict=True)}
    assert found == {
        "": ("ok", None),
        "length": ("open", "length"),
        "loop": ("open", "newline_loop"),
        "prose": ("open", "invalid_json"),
        "enum": ("open", "wrong_value"),
        "mend": ("open", "wrong_value"),
        "busy": ("ok", None),
        "down": ("rejected", "engine_error"),
        "bad": ("rejected", "engine_error"),
        "slow": ("rejected", "timeout"),
        "lie": ("ok", None),
    }
    asked = {word: sum(n for t, n in script.asked.items() if f"[{word}]" in t) for word in ("busy", "down", "bad")}
    assert asked == {"busy": 3, "down": 3, "bad": 1}
    assert [r["error"] for r in rows if r["status"] == "rejected"] == ["no_answer"] * 3
    lie = rows[WORDS.index("lie")]["findings"][0]
    assert [e["start"] for e in lie["evidence"] if e["field"] == "healing"] == [-1]


def test_a_second_try_is_told_what_to_mend_and_is_the_last(endpoint: tuple[str, Script]) -> None:
    texts = [report(50, "mend"), report(51, "enum")]
    mended, lost = ask(endpoint[0], texts, ["findings.0.presence.value: enum"] * 2)
    assert (mended["status"], mended["attempts"], mended["tokens_in"]) == ("repaired", 2, 100)
    assert (lost["status"], lost["failure_class"], lost["error"]) == ("rejected", "wrong_value", "invalid_record")


def test_no_more_requests_at_a_time_than_asked_for() -> None:
    with scripted_endpoint() as (url, script):
        ask(url, [report(i) for i in range(100, 130)], concurrency=3)
    assert 1 < script.most_at_once <= 3


def test_an_endpoint_that_is_not_there_is_named_before_any_work() -> None:
    with pytest.raises(ConfigError, match="no endpoint answers"):
        check_endpoint(config("http://127.0.0.1:9/v1/"))


@pytest.mark.parametrize(
    ("word", "expected", "asked"),
    [
        ("half", ("rejected", "unreadable"), 3),
        ("parts", ("rejected", "unreadable"), 3),
        ("page", ("rejected", "unreadable"), 3),
        ("details", ("ok", None), 1),
        ("many", ("ok", None), 1),
    ],
)
def test_an_odd_answer_costs_its_own_report_at_most(
    endpoint: tuple[str, Script], word: str, expected: tuple[str, str | None], asked: int
) -> None:
    url, script = endpoint
    odd, good = ask(url, [report(60, word), report(61)])
    assert (odd["status"], odd["failure_class"]) == expected
    assert (good["status"], good["tokens_in"]) == ("ok", 100)
    assert [n for t, n in script.asked.items() if f"[{word}]" in t] == [asked]
    counted = {"details": (100, 0, 50), "many": (0, 0, 0)}.get(word, (None, None, None))
    assert (odd["tokens_in"], odd["tokens_cached"], odd["tokens_out"]) == counted


def test_what_nobody_foresaw_costs_its_own_report(
    endpoint: tuple[str, Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(answer: dict[str, Any]) -> dict[str, Any]:
        if "maybe" in str(answer):
            raise ZeroDivisionError
        return whole(answer)

    whole = protocol._read
    monkeypatch.setattr(protocol, "_read", read)
    rows = ask(endpoint[0], [report(62, "enum"), report(63)])
    assert [r["failure_class"] for r in rows] == ["unreadable", None]
    assert rows[0]["error_message"] == "ZeroDivisionError"


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("word", ["502", "503"])
def test_a_report_that_a_gateway_alone_answers_is_set_apart(word: str, concurrency: int) -> None:
    """The patience with an endpoint that is away does not run out over one report; it is asked for three times."""
    texts = [report(i, word if i == 2 else "") for i in range(12)]
    with scripted_endpoint() as (url, script):
        rows = ask(url, texts, concurrency=concurrency)
    assert [r["failure_class"] for r in rows] == [None if i != 2 else "engine_error" for i in range(12)]
    assert rows[2]["error_message"] == f"status {word}"
    assert {n for t, n in script.asked.items() if word in t} == {MAX_DEATHS}
    assert script.harmless == {200: MAX_DEATHS}


def test_the_report_that_kills_what_a_gateway_stands_for_is_set_apart() -> None:
    """Nobody is asked for while the endpoint is away but the harmless report, so that nobody is suspected of it."""
    texts = [report(i, "fall" if i == 5 else "") for i in range(16)]
    with scripted_endpoint(pace_s=0.05, restart_s=0.3) as (url, script):
        rows = ask(url, texts, concurrency=9, restart_wait_s=30.0)
    assert [r["failure_class"] for r in rows] == [None if i != 5 else "engine_death" for i in range(16)]
    assert script.deaths == MAX_DEATHS
    assert max(script.asked.values()) == MAX_DEATHS
    assert sum(n == 1 for n in script.asked.values()) >= 16 - 9
    assert script.harmless[503] > script.harmless[502]


def test_a_gateway_with_nobody_behind_it_ends_the_job_and_is_not_stormed() -> None:
    gone = pytest.raises(EndpointGone, match=r"answered nothing for 0\.5 s")
    with scripted_endpoint(pace_s=0.0, restart_s=60.0) as (url, script), gone:
        ask(url, [report(1, "fall"), report(2)], backoff_s=0.1, restart_wait_s=0.5)
    assert script.asked.total() == 2
    assert script.harmless.total() < 20


def test_a_pause_is_the_longer_of_ours_and_theirs_and_has_an_end() -> None:
    ours = [pause_s(n, 1.0, 0.0) for n in range(4)]
    assert all(0.5 * 2**n <= pause <= 1.5 * 2**n for n, pause in enumerate(ours))
    assert pause_s(0, 1.0, 20.0) == 20.0
    assert pause_s(5, 1.0, 3.0) >= 16.0
    assert pause_s(0, 1.0, 1e9) == pause_s(5_000, 1.0, 0.0) == 60.0


@pytest.mark.parametrize(
    ("header", "asked_s"),
    [("0", 0), ("7", 7), ("1.5", 1.5), ("nan", 0), ("inf", 0), ("", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_what_a_header_asks_for_is_a_finite_number_or_nothing(header: str, asked_s: float) -> None:
    assert protocol._asked_s({"retry-after": header}) == asked_s


@pytest.mark.parametrize("models", [(), ("google/medgemma-27b-text-it", "another")])
def test_a_model_that_is_served_or_is_not_listed_may_be_asked(models: tuple[str, ...]) -> None:
    with scripted_endpoint(models=models) as (url, _):
        check_endpoint(config(url))


def test_a_model_that_is_not_served_is_named_before_any_work() -> None:
    wrong = pytest.raises(ConfigError, match=r"serves no model google/.*: m00, m01, .*, m09 and 2 more$")
    with scripted_endpoint(models=[f"m{i:02}" for i in range(12)]) as (url, _), wrong:
        check_endpoint(config(url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_refused_to_every_report_ends_the_job_and_rejects_none(status: int) -> None:
    with scripted_endpoint() as (url, script):
        script.refuses = status
        with pytest.raises(EndpointRefuses, match=rf"refuses whatever it is asked \(status {status}\)"):
            ask(url, [report(i) for i in range(3)])


def test_a_wrong_model_that_no_listing_tells_ends_the_job() -> None:
    with scripted_endpoint(models=["another"]) as (url, _), pytest.raises(EndpointRefuses, match=r"--http\.model"):
        ask(url, [report(1)])


def test_an_endpoint_that_stays_away_ends_the_job_and_rejects_nothing() -> None:
    with pytest.raises(EndpointGone, match="it goes on where it stopped"):
        ask("http://127.0.0.1:9/v1/", [report(1)])


def test_the_report_that_kills_the_endpoint_is_set_apart_and_its_neighbours_are_read() -> None:
    texts = [report(i, "kill" if i in {3, 17} else "") for i in range(30)]
    with scripted_endpoint(pace_s=0.05) as (url, script):
        rows = ask(url, texts, concurrency=9)
    assert [r["status"] for r in rows] == ["rejected" if i in {3, 17} else "ok" for i in range(30)]
    assert {r["failure_class"] for r in rows} == {None, "engine_death"}
    assert {r["error"] for r in rows} == {None, "no_answer"}
    assert sorted(script.asked.values())[-2:] == [MAX_DEATHS, MAX_DEATHS]
    assert {n for t, n in script.asked.items() if "[kill]" in t} == {MAX_DEATHS}


def test_an_endpoint_that_is_away_is_waited_for() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, f"http://127.0.0.1:{port}/v1/", [report(1)], restart_wait_s=30.0)
        time.sleep(0.5)
        assert not asked.done()
        with scripted_endpoint(port=port):
            (row,) = asked.result(timeout=30)
    assert row["status"] == "ok"
