"""The http engine against a scripted server: real sockets, real retries."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest

from tests.scripted_endpoint import Script, report, scripted_endpoint
from wristmir_ray.errors import ConfigError, EndpointGone
from wristmir_ray.mining.attempts import ANSWERS, judge_answers
from wristmir_ray.mining.config import HttpConfig
from wristmir_ray.mining.engines.http import AskEndpoint, check_endpoint
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
