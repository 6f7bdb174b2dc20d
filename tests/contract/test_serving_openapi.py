"""The HTTP contract: a change of routes, fields or bounds is a change of this snapshot.

After a wanted change: python -m tests.contract.test_serving_openapi
"""

import json
from pathlib import Path
from typing import Any

from tests.unit.serving.fake_graph import FakeGraph
from wristmir_ray.serving import problems
from wristmir_ray.serving.http import create_http

SNAPSHOT = Path(__file__).with_name("serving_openapi.json")


def openapi() -> dict[str, Any]:
    described = create_http(FakeGraph()).openapi()
    described["info"]["version"] = "any"
    return described


def test_the_contract_is_the_snapshot() -> None:
    assert openapi() == json.loads(SNAPSHOT.read_text())


def test_every_route_is_there() -> None:
    assert set(openapi()["paths"]) == {
        "/v1/search",
        "/v1/batch-search",
        "/v1/archives",
        "/v1/exams/{exam_id}",
        "/v1/exams/{exam_id}/crops/{region}",
        "/v1/exams/{exam_id}/image",
        "/healthz",
        "/readyz",
        "/metrics",
    }


def test_every_error_is_problem_json() -> None:
    for routes in openapi()["paths"].values():
        for operation in routes.values():
            errors = {code: r for code, r in operation["responses"].items() if int(code) >= 400}
            assert {"422", "503"} <= set(errors)
            assert all(set(r["content"]) == {problems.MEDIA_TYPE} for r in errors.values())


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(openapi(), indent=1, sort_keys=True) + "\n")
