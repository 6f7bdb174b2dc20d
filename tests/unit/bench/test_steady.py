"""The counts of a load under faults see each way in which a request may end."""

import json
from typing import Any

from tests.fault.steady import LOST, Ended, Right, count, shown

PROBLEM = "application/problem+json"


def said(run: str, hits: list[int]) -> dict[str, Any]:
    return {"hits": hits, "lineage": {"index": run}, "stage_ms": {"total": 1.0}, "token": None, "coverage": None}


def ended(status: int, body: Any = b"", query: int = 0, media: str = "application/json", at: float = 0.0) -> Ended:
    return Ended(query, at, 0.5, status, media, body if isinstance(body, bytes) else json.dumps(body).encode())


RIGHT: Right = {run: [shown(ended(200, said(run, hits)).body)] for run, hits in (("a", [1, 2]), ("b", [2, 1]))}


def test_right_answers_are_those_of_the_index_they_name() -> None:
    found = count([ended(200, said("a", [1, 2])), ended(200, said("b", [2, 1]))], RIGHT)
    assert (found.right, found.wrong, found.by_index) == (2, 0, {"a": 1, "b": 1})


def test_another_index_s_answer_another_order_and_an_unknown_index_are_wrong() -> None:
    mixed = [ended(200, said("a", [2, 1])), ended(200, said("b", [1, 2])), ended(200, said("c", [1, 2]))]
    assert count(mixed, RIGHT).wrong == 3


def test_honest_refusals_are_problems_and_nothing_else_is() -> None:
    problem = {"code": "busy"}
    found = count(
        [
            ended(503, problem, media=PROBLEM, at=2.0),
            ended(429, problem, media=PROBLEM, at=3.0),
            ended(503, b"down", media="text/plain"),
            ended(500, problem, media=PROBLEM),
            ended(408, problem, media=PROBLEM),
            ended(LOST, b"ServerDisconnectedError", media=""),
        ],
        RIGHT,
    )
    assert found.refused == {"503 busy": 1, "429 busy": 1}
    assert sum(found.other.values()) == 3
    assert found.lost == {"ServerDisconnectedError": 1}
    assert found.outage_s == 3.5
