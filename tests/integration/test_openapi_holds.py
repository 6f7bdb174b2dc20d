"""The real HTTP face over a graph in memory does what its OpenAPI says, with keys and without."""

from pathlib import Path

import pytest
import schemathesis

from tests.api_schema import check_reached, hold_against_schema
from tests.unit.serving.fake_graph import EXAM, FakeGraph
from wristmir_ray.serving.access import Keys, Role, add_key
from wristmir_ray.serving.http import create_http
from wristmir_ray.serving.limits import RateLimit

KNOWN = {"image": b"pixels", "exam_id": EXAM, "text": "buckle fracture"}


@pytest.mark.parametrize("guarded", [False, True])
@pytest.mark.parametrize("examples", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_every_answer_is_as_the_schema_has_it(guarded: bool, examples: int, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    headers = {"Authorization": f"Bearer {add_key(keys, 'one', Role.ADMIN)}"} if guarded else {}
    app = create_http(FakeGraph(), Keys(keys) if guarded else None, RateLimit(per_s=1e6, burst=10**6))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
    check_reached(hold_against_schema(schema, examples, KNOWN, headers))


def test_a_stranger_and_a_reader_are_refused_as_the_schema_has_it(tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    reader = {"Authorization": f"Bearer {add_key(keys, 'one', Role.READ)}"}
    app = create_http(FakeGraph(), Keys(keys))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=reader)
    refused = hold_against_schema(schema, 4, KNOWN, {})
    probes = {"GET /healthz", "GET /readyz"}
    assert {route: set(seen) for route, seen in refused.items()} == {
        route: {200} if route in probes else {401} for route in refused
    }
    seen = hold_against_schema(schema, 1, KNOWN, reader)["GET /metrics"]
    assert set(seen) == {401, 403}, "schemathesis also asks without the key"
