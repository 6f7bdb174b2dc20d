"""What the guarded engine changes of vLLM itself."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from wristmir_ray.mining.engines.vllm import sampling

xgrammar = pytest.importorskip("vllm.v1.structured_output.backend_xgrammar", reason="vLLM is not installed")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the schemas that the engine has parsed, its check wrapped."""
    from wristmir_ray.mining.engines.guarded import check_schemas_once

    seen: list[Any] = []
    parse = xgrammar.xgr.Grammar.from_json_schema

    def noting(schema: Any) -> Any:
        seen.append(schema)
        return parse(schema)

    monkeypatch.setattr(xgrammar.xgr.Grammar, "from_json_schema", staticmethod(noting))
    monkeypatch.setattr(xgrammar, "validate_xgrammar_grammar", xgrammar.validate_xgrammar_grammar)
    check_schemas_once()
    check_schemas_once()
    return seen


def check(**wanted: Any) -> None:
    given = {"json": None, "regex": None, "choice": None, "grammar": None, "structural_tag": None, **wanted}
    xgrammar.validate_xgrammar_grammar(SimpleNamespace(structured_outputs=SimpleNamespace(**given)))


def test_a_schema_is_parsed_once_and_another_one_too(parsed: list[Any]) -> None:
    ours = sampling(100)["structured_outputs"]["json"]
    for _ in range(3):
        check(json=ours)
        check(json='{"type": "integer"}')
    assert parsed == [json.loads(ours), {"type": "integer"}]


def test_a_schema_that_fails_fails_each_time(parsed: list[Any]) -> None:
    for _ in range(2):
        with pytest.raises(xgrammar.VLLMValidationError, match="json"):
            check(json='{"type": "string", "pattern": "("}')
    assert len(parsed) == 2
