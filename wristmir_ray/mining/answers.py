"""What a language model is asked to write, and how its answer becomes a record, or a failure with a class.

A model's text is never trusted to be JSON, not even under guided decoding: it is parsed defensively,
validated against the same closed vocabularies as every record, and each value's quote is looked for
in the report. Lists and strings are bounded, so that an answer is.
"""

import json
import re
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, WithJsonSchema

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Presence, Side, View
from wristmir_ray.mining.findings import (
    EXAM_FIELDS,
    Alignment,
    Direction,
    Evidence,
    Finding,
    Ossification,
    Other,
    Place,
    Record,
)
from wristmir_ray.mining.grounding import ANYWHERE, Locator

MAX_ANSWER_FINDINGS = 12
MAX_ANSWER_OTHER = 6
MAX_ANSWER_CHARS = 40_000
"""More than any valid answer has."""
_PRINTABLE = r"[ !#-\[\]-~\u00a1-\u024f\u2010-\u2027\u2030-\u205e]"
"""What a string of an answer is made of: guided decoding lets control characters through elsewhere."""

_UNKNOWN = "unknown"
"""A value that says nothing: the same as null."""
T = TypeVar("T")


def _bounded(forties: int) -> str:
    """Return the pattern of 1 to 40 n characters; nested, since xgrammar 0.2 compiles no count above about 128."""
    return f"^({_PRINTABLE}{{1,40}}){{1,{forties}}}$"


class FailureClass(StrEnum):
    """Why a model gave no record for a report."""

    LENGTH = "length"
    """It stopped at the limit of tokens."""
    NEWLINE_LOOP = "newline_loop"
    """It wrote white space without end."""
    INVALID_JSON = "invalid_json"
    WRONG_VALUE = "wrong_value"
    """A value outside its vocabulary or bounds."""
    WRONG_SHAPE = "wrong_shape"
    """A missing or unknown field."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """The endpoint could not be spoken to, after all retries."""
    UNREADABLE = "unreadable"
    """What the endpoint sent was no answer of the protocol, or no Unicode, after all retries."""
    ENGINE_ERROR = "engine_error"
    """The engine raised on this report, or the endpoint answered it with a status of failure."""
    ENGINE_DEATH = "engine_death"
    """The engine died each time it read this report, in the end with no other."""


_WRONG = {
    FailureClass.INVALID_JSON: "the answer is not one JSON object",
    FailureClass.NEWLINE_LOOP: "the answer ends in blank lines, without an object",
    FailureClass.LENGTH: "the answer reached the limit of tokens before its end",
}
"""What was wrong, where that is not what to mend."""


class AnswerFailure(Exception):
    """An answer that is no record. `hint` tells the model what to mend, `wrong` a person what was wrong.

    Neither quotes the answer or the report.
    """

    def __init__(self, failure: FailureClass, hint: str) -> None:
        super().__init__(f"{failure}: {hint}")
        self.failure = failure
        self.hint = hint
        self.wrong = _WRONG.get(failure, hint)


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Said(_Strict, Generic[T]):
    """A value and the words of the report that say it."""

    value: T
    quote: Annotated[str, StringConstraints(pattern=_bounded(6))]


class AnsweredFinding(_Strict):
    """One statement about a fracture in one place; null where the report is silent."""

    region: Said[Place]
    presence: Said[Presence]
    side: Said[Side] | None
    fracture_type: Said[FractureType] | None
    displacement: Said[Displacement] | None
    angulation_direction: Said[Direction] | None
    angulation_deg: Said[Annotated[int, Field(ge=0, le=180)]] | None
    alignment: Said[Alignment] | None
    healing: Said[Healing] | None
    physis_involved: Said[bool] | None


class Answer(_Strict):
    """The whole answer. `reasoning` comes first, so that the model thinks before it decides.

    It is never stored: guided decoding bounds it, and where nothing guides, whatever it holds is taken.
    """

    reasoning: Annotated[Any, WithJsonSchema({"type": "string", "pattern": _bounded(15)})]
    side: Said[Literal["left", "right", "bilateral"]] | None
    views: Annotated[list[Said[View]], Field(max_length=3)]
    bone_quality: Said[Literal["normal", "osteopenia"]] | None
    immobilisation: Said[Literal["cast", "splint", "none"]] | None
    hardware: Said[bool] | None
    ossification: Said[Ossification] | None
    other: Annotated[list[Said[Other]], Field(max_length=MAX_ANSWER_OTHER)]
    findings: Annotated[list[AnsweredFinding], Field(max_length=MAX_ANSWER_FINDINGS)]


@lru_cache(maxsize=1)
def answer_schema() -> str:
    """Return the JSON schema for guided decoding, as a string (a dict would gain nulls in an Arrow column)."""
    return json.dumps(Answer.model_json_schema())


def read_answer(text: str | None, finish_reason: str | None, report: str) -> Record:
    """Return the record of a model's answer.

    Args:
        text: what the model wrote.
        finish_reason: why it stopped, in the words of the OpenAI protocol; `length` is a failure.
        report: the report it read.

    Raises:
        AnswerFailure: the answer is no record.
    """
    written = text or ""
    if _only_space_at_the_end(written):
        raise AnswerFailure(FailureClass.NEWLINE_LOOP, "write the JSON object without blank lines")
    if finish_reason == "length":
        raise AnswerFailure(FailureClass.LENGTH, "be shorter: at most one sentence of reasoning, short quotes")
    return _record(_validated(_parsed(written)), Locator(report))


def _only_space_at_the_end(text: str) -> bool:
    return len(text) - len(text.rstrip()) >= 64


def _parsed(text: str) -> dict[str, Any]:
    """Return the one JSON object of a text, which a fence or a prose line may surround."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start or len(text) > MAX_ANSWER_CHARS:
        raise AnswerFailure(FailureClass.INVALID_JSON, "answer with one JSON object and nothing else")
    try:
        value = json.loads(text[start : end + 1], strict=False)
    except (ValueError, RecursionError):
        raise AnswerFailure(FailureClass.INVALID_JSON, "answer with one valid JSON object and nothing else") from None
    if not isinstance(value, dict):
        raise AnswerFailure(FailureClass.INVALID_JSON, "answer with a JSON object")
    return value


def _validated(value: dict[str, Any]) -> Answer:
    try:
        return Answer.model_validate(value)
    except ValidationError as e:
        errors = e.errors(include_url=False, include_input=False, include_context=False)
        shape = {"missing", "extra_forbidden"}
        kind = FailureClass.WRONG_SHAPE if any(x["type"] in shape for x in errors) else FailureClass.WRONG_VALUE
        raise AnswerFailure(kind, "; ".join(_mend(x["loc"], x["type"]) for x in errors[:5])) from None


def _mend(where: tuple[int | str, ...], kind: str) -> str:
    """Return which field is wrong and how. A name that is not ours is not repeated: it may be report text."""
    path = ".".join(str(p) for p in where if isinstance(p, int) or p in _FIELDS)
    return f"{path or 'the object'}: {re.sub('_', ' ', kind)}"


_FIELDS = frozenset({"value", "quote", *Answer.model_fields, *AnsweredFinding.model_fields})


def _record(answer: Answer, locator: Locator) -> Record:
    said: dict[str, Any] = {name: getattr(answer, name) for name in EXAM_FIELDS}
    listed = {name: s for name, s in said.items() if isinstance(s, list)}
    single = {name: s for name, s in said.items() if not isinstance(s, list)}
    return Record(
        **{name: _value(s) for name, s in single.items()},
        **{name: tuple(dict.fromkeys(x.value for x in s)) for name, s in listed.items()},
        findings=tuple(_finding(f, locator) for f in answer.findings),
        evidence=_evidence([*single.items(), *((name, x) for name, s in listed.items() for x in s)], locator),
    )


def _finding(answered: AnsweredFinding, locator: Locator) -> Finding:
    said = {name: getattr(answered, name) for name in AnsweredFinding.model_fields}
    stated = {name: s for name, s in said.items() if s is not None and s.value != _UNKNOWN}
    return Finding(**{name: s.value for name, s in stated.items()}, evidence=_evidence(list(stated.items()), locator))


def _value(said: Said[Any] | None) -> Any:
    return None if said is None else said.value


def _evidence(said: list[tuple[str, Said[Any] | None]], locator: Locator) -> tuple[Evidence, ...]:
    """Return each value's quote where it stands in the report: `report[start:end] == quote`, or start -1."""
    out = []
    for name, s in said:
        if s is None:
            continue
        span = locator.find(s.quote)
        place = {"quote": s.quote, "start": -1, "end": -1, "section": ANYWHERE}
        if span is not None:
            start, end = span
            place = {"quote": locator.text(start, end), "start": start, "end": end, "section": locator.section(start)}
        out.append(Evidence.model_validate({"field": name, **place}))
    return tuple(out)
