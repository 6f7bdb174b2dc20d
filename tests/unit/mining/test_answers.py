"""From what a model writes to a record, or to a failure with a class."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_endpoint import answer, report, said
from wristmir_ray.mining.answers import Answer, AnswerFailure, FailureClass, answer_schema, read_answer
from wristmir_ray.mining.evidence import ungrounded
from wristmir_ray.mining.findings import MAX_QUOTE

TEXT = report(1)


def failure(text: str | None, reason: str = "stop") -> FailureClass:
    with pytest.raises(AnswerFailure) as caught:
        read_answer(text, reason, TEXT)
    assert "Buckle" not in str(caught.value), "the hint quotes neither answer nor report"
    return caught.value.failure


@pytest.mark.parametrize(
    ("text", "reason", "wrong"), [("no object", "stop", "the answer is not"), ("{", "length", "the answer reached")]
)
def test_a_person_is_told_what_was_wrong_and_the_model_what_to_do(text: str, reason: str, wrong: str) -> None:
    with pytest.raises(AnswerFailure) as caught:
        read_answer(text, reason, TEXT)
    assert caught.value.wrong.startswith(wrong)
    assert caught.value.hint.startswith(("answer with", "be shorter"))


def test_every_value_stands_on_its_quote() -> None:
    record = read_answer(json.dumps(answer(displacement=said("unknown", "x"))), "stop", TEXT)
    (finding,) = record.findings
    assert (finding.region, finding.fracture_type, finding.displacement) == ("distal_radius", "buckle", "unknown")
    assert finding.grounded
    assert {e.field for e in finding.evidence} == {"region", "presence", "fracture_type"}
    assert {e.field for e in record.evidence} == {"side"}
    assert ungrounded(TEXT, record) == 0
    assert "reasoning" not in record.model_dump_json()


def test_a_made_up_quote_is_kept_as_ungrounded() -> None:
    record = read_answer(json.dumps(answer(presence=said("present", "comminuted fracture"))), "stop", TEXT)
    assert not record.findings[0].grounded
    assert ungrounded(TEXT, record) == 1


@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Here it is: {} Done.", "\n {} \n"])
def test_json_is_found_in_what_surrounds_it(around: str) -> None:
    assert read_answer(around.replace("{}", json.dumps(answer())), "stop", TEXT).findings


@pytest.mark.parametrize(
    ("text", "reason", "expected"),
    [
        (None, "stop", FailureClass.INVALID_JSON),
        ("", "stop", FailureClass.INVALID_JSON),
        ("The radius is broken.", "stop", FailureClass.INVALID_JSON),
        ('{"reasoning": ', "stop", FailureClass.INVALID_JSON),
        ("[" * 5000 + "{}" + "]" * 5000, "stop", FailureClass.WRONG_SHAPE),
        ('{"a":' * 3000 + "1" + "}" * 3000, "stop", FailureClass.INVALID_JSON),
        ('{"reasoning": "and', "length", FailureClass.LENGTH),
        ("{" + "\n" * 400, "length", FailureClass.NEWLINE_LOOP),
        ("{}", "stop", FailureClass.WRONG_SHAPE),
        ("x" * 50_000 + "{}", "stop", FailureClass.INVALID_JSON),
    ],
)
def test_failures_have_their_class(text: str | None, reason: str, expected: FailureClass) -> None:
    assert failure(text, reason) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"presence": said("maybe", "Buckle fracture")}, FailureClass.WRONG_VALUE),
        ({"angulation_deg": said(200, "200")}, FailureClass.WRONG_VALUE),
        ({"healing": said("healing", "")}, FailureClass.WRONG_VALUE),
        ({"healing": said("healing", "x" * 300)}, FailureClass.WRONG_VALUE),
        ({"healing": said("healing", "a\x00b")}, FailureClass.WRONG_VALUE),
        ({"region": None}, FailureClass.WRONG_VALUE),
        ({"severity": said("high", "Buckle")}, FailureClass.WRONG_SHAPE),
    ],
)
def test_wrong_values_and_shapes(changes: dict[str, Any], expected: FailureClass) -> None:
    assert failure(json.dumps(answer(**changes))) is expected


@pytest.mark.parametrize(
    "reasoning",
    ['It says "buckle".', "First.\nSecond.", "x" * 5_000, "", "\ud83d", "骨折", None, ["a", "b"], {"radius": "broken"}],
)
def test_no_reasoning_fails_an_answer(reasoning: object) -> None:
    assert read_answer(json.dumps({**answer(), "reasoning": reasoning}), "stop", TEXT).findings


def test_an_answer_without_reasoning_has_the_wrong_shape() -> None:
    assert failure(json.dumps({k: v for k, v in answer().items() if k != "reasoning"})) is FailureClass.WRONG_SHAPE


def test_a_quote_that_white_space_stretches_beyond_its_bound_is_not_found() -> None:
    text = "Left wrist. Buckle" + " " * MAX_QUOTE + "fracture of the distal radius."
    record = read_answer(json.dumps(answer()), "stop", text)
    lost = [e for e in record.findings[0].evidence if e.start < 0]
    assert [(e.field, e.quote) for e in lost] == [("presence", "Buckle fracture")]
    short = text.replace(" " * MAX_QUOTE, " " * (MAX_QUOTE - 20))
    assert ungrounded(short, read_answer(json.dumps(answer()), "stop", short)) == 0


def test_too_many_findings_are_refused() -> None:
    whole = answer()
    assert failure(json.dumps({**whole, "findings": whole["findings"] * 13})) is FailureClass.WRONG_VALUE


def test_the_schema_starts_with_the_reasoning_and_bounds_every_string_and_list() -> None:
    schema = json.loads(answer_schema())
    assert next(iter(schema["properties"])) == "reasoning"
    assert schema["required"] == list(Answer.model_fields)

    def check(part: object) -> None:
        if isinstance(part, dict):
            if part.get("type") == "string":
                assert "enum" in part or "pattern" in part or "const" in part
            if part.get("type") == "array":
                assert part["maxItems"]
            if part.get("type") == "object":
                assert part["additionalProperties"] is False
            for value in part.values():
                check(value)
        if isinstance(part, list):
            for value in part:
                check(value)

    check(schema)


@given(st.text(max_size=200) | st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists).map(json.dumps))
def test_nothing_but_a_failure_comes_out_of_rubbish(text: str) -> None:
    with pytest.raises(AnswerFailure):
        read_answer(text, "stop", TEXT)
