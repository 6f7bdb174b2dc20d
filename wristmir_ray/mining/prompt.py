"""The prompt: instructions, checked examples, the report. All but the report is one prefix, which engines cache."""

import json
from dataclasses import dataclass
from functools import lru_cache

import yaml

from wristmir_ray import keys
from wristmir_ray.errors import ConfigError
from wristmir_ray.mining.answers import AnswerFailure, answer_schema, read_answer
from wristmir_ray.mining.evidence import ungrounded
from wristmir_ray.mining.instructions import without_instructions
from wristmir_ray.mining.vocabulary import read_data

Message = dict[str, str]
"""role and content, as the OpenAI protocol has them."""


@dataclass(frozen=True)
class Prompt:
    """A checked prompt."""

    version: str
    """Hash of the instructions, the examples and the answer's schema."""
    shared: tuple[Message, ...]
    """The messages before the report, equal for all reports."""

    def messages(self, report: str, mend: str | None = None) -> list[Message]:
        """Return the messages for one report.

        Args:
            report: its text.
            mend: what was wrong with the first answer, where this is the second try.
        """
        wish = f"{_REPORT}{without_instructions(report)}"
        if mend:
            wish += f"\n\nAn earlier answer could not be used. Mend this: {mend}"
        return [*self.shared, {"role": "user", "content": wish}]


_REPORT = "Report:\n"


@lru_cache(maxsize=1)
def load_prompt(text: str | None = None) -> Prompt:
    """Return the prompt, once its examples have been checked.

    Args:
        text: YAML to read instead of `prompt.yaml`.

    Raises:
        ConfigError: an example's answer is not valid, or a quote of it does not stand in its report.
    """
    data = yaml.safe_load(read_data("prompt.yaml") if text is None else text)
    shared: list[Message] = [{"role": "system", "content": data["instructions"].strip()}]
    for number, example in enumerate(data["examples"], 1):
        answer = json.dumps(example["answer"])
        _check(number, answer, example["report"])
        shared += [
            {"role": "user", "content": f"{_REPORT}{example['report']}"},
            {"role": "assistant", "content": answer},
        ]
    version = keys.digest("prompt", json.dumps(shared), answer_schema())[:16]
    return Prompt(version, tuple(shared))


def _check(number: int, answer: str, report: str) -> None:
    try:
        record = read_answer(answer, "stop", report)
    except AnswerFailure as e:
        raise ConfigError(f"prompt example {number}: {e}") from None
    lost = ungrounded(report, record)
    if lost:
        raise ConfigError(f"prompt example {number}: {lost} quote(s) do not stand in its report")
