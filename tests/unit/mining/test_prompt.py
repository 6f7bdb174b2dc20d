"""The prompt is checked when it is loaded."""

import json

import pytest
import yaml

from wristmir_ray.errors import ConfigError
from wristmir_ray.mining.prompt import load_prompt
from wristmir_ray.mining.vocabulary import read_data

SHIPPED = yaml.safe_load(read_data("prompt.yaml"))


def test_all_but_the_report_is_shared() -> None:
    prompt = load_prompt()
    first, second = prompt.messages("one"), prompt.messages("two", mend="findings: too long")
    assert first[:-1] == second[:-1] == list(prompt.shared)
    assert "two" in second[-1]["content"]
    assert "findings: too long" in second[-1]["content"]
    assert [m["role"] for m in first] == ["system", *["user", "assistant"] * len(SHIPPED["examples"]), "user"]


def test_another_wording_is_another_version() -> None:
    other = {**SHIPPED, "instructions": SHIPPED["instructions"] + " Be careful."}
    assert load_prompt(yaml.safe_dump(other)).version != load_prompt().version


@pytest.mark.parametrize(("old", "new"), [("quote: buckle", "quote: torus"), ("value: buckle", "value: broken")])
def test_an_example_that_is_wrong_is_refused(old: str, new: str) -> None:
    text = read_data("prompt.yaml")
    assert old in text
    with pytest.raises(ConfigError, match="example 1"):
        load_prompt(text.replace(old, new))


def test_examples_hold_no_unknown_field() -> None:
    for example in SHIPPED["examples"]:
        assert "unknown" not in json.dumps(example["answer"])
