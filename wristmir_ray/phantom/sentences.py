"""Sentence banks: YAML files of clause templates, read and parsed once.

A template is a sentence with slots. `{disp}` must be filled, `{disp?}` and `[, which is {disp}]` may be left out,
a digit names the finding (`{bone1}`, `{bone2}`; none means the first), `_both` a detail that two findings share, and
`<healing=healed, type=buckle>` in front says what the words themselves state, so that the template is used for
such findings only; `<healing!=acute>` bars it from others without stating anything.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf

from wristmir_ray.anatomy import Displacement, FractureType, Healing
from wristmir_ray.errors import ConfigError

BANKS = ("open", "sealed")

DETAIL_OF = {
    "type": "fracture_type",
    "typed": "fracture_type",
    "disp": "displacement",
    "disp_with": "displacement",
    "disp_noun": "displacement",
    "heal": "healing",
    "heal_with": "healing",
    "heal_is": "healing",
}
"""Slot -> the field of a finding that its words state."""

_VALUES = {"type": FractureType, "displacement": Displacement, "healing": Healing}
_TOKEN = re.compile(r"\{([a-zA-Z_]+?)(_both)?([12]?)(\??)\}|(\[)|(\])")
_CONDITION = re.compile(r"^<([^>]*)>\s*")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for words; `index` is the finding (0 = both of two, 1 = first, 2 = second)."""

    name: str
    index: int
    optional: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A part of a sentence that may be left out."""

    parts: tuple["Part", ...]
    needs: frozenset[tuple[int, str]]


Part = str | Slot | Group


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed sentence: details it `needs` known, those its fixed words `states`, those it `bars`."""

    source: str
    parts: tuple[Part, ...]
    needs: frozenset[tuple[int, str]]
    states: tuple[tuple[str, str], ...]
    bars: tuple[tuple[str, str], ...]


def parse(source: str) -> Template:
    """Parse one template.

    Raises:
        ConfigError: brackets do not match, or a condition names no known detail.
    """
    conditions: list[tuple[bool, str, str]] = []
    body = source
    if (found := _CONDITION.match(source)) is not None:
        conditions = [_condition(pair, source) for pair in found.group(1).split(",")]
        body = source[found.end() :]
    stack: list[list[Part]] = [[]]
    at = 0
    for match in _TOKEN.finditer(body):
        if match.start() > at:
            stack[-1].append(body[at : match.start()])
        at = match.end()
        if match.group(5):
            stack.append([])
        elif match.group(6):
            if len(stack) == 1:
                raise ConfigError(f"unmatched ] in template: {source}")
            parts = tuple(stack.pop())
            stack[-1].append(Group(parts, _needs(parts)))
        else:
            index = 0 if match.group(2) else int(match.group(3) or 1)
            stack[-1].append(Slot(match.group(1), index, bool(match.group(4))))
    if len(stack) != 1:
        raise ConfigError(f"unmatched [ in template: {source}")
    if at < len(body):
        stack[0].append(body[at:])
    parts = tuple(stack[0])
    states, bars = (tuple((name, value) for bar, name, value in conditions if bar is kind) for kind in (False, True))
    return Template(source, parts, _needs(parts), states, bars)


def _condition(pair: str, source: str) -> tuple[bool, str, str]:
    name, _, value = (part.strip() for part in pair.partition("="))
    bar, name = name.endswith("!"), name.rstrip("!")
    if name not in _VALUES or value not in set(_VALUES[name]):
        raise ConfigError(f"unknown condition in template: {source}")
    return bar, ("fracture_type" if name == "type" else name), value


def _needs(parts: tuple[Part, ...]) -> frozenset[tuple[int, str]]:
    return frozenset(
        (part.index, DETAIL_OF[part.name])
        for part in parts
        if isinstance(part, Slot) and not part.optional and part.name in DETAIL_OF
    )


Sentence = Annotated[InstanceOf[Template], BeforeValidator(parse)]
Sentences = tuple[Sentence, ...]
ByRegion = dict[str, Sentences]
"""`any` = any bone, and sentences of one bone under its region's name."""


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class SectionSpec(_Written):
    """One section of a hospital's report."""

    kind: Literal["exam", "indication", "technique", "comparison", "findings", "fields", "impression", "closing"]
    heading: str = Field("", description="As printed, with its colon; empty for none.")
    share: float = Field(1.0, ge=0, le=1, description="Share of reports that have the section.")
    below: bool = Field(False, description="Text on the line below its heading.")
    style: Literal["prose", "lines", "bullets", "numbered"] = "prose"


class LayoutSpec(_Written):
    """How one hospital sets out its reports."""

    name: str
    weight: float = Field(gt=0)
    register_: Literal["prose", "terse"] = Field("prose", alias="register")
    gap: str = Field("\n", description="Between sections.")
    letters: Literal["as written", "upper", "lower"] = "as written"
    wrap: int = Field(0, ge=0, description="Hard line breaks at this column; 0 for none.")
    british: bool = False
    sections: tuple[SectionSpec, ...]


class Bank(_Written):
    """One sentence bank; what each list is for stands beside it in the YAML file."""

    layouts: tuple[LayoutSpec, ...]
    lexicon: dict[str, dict[str, Sentences]]
    words: dict[str, Sentences]
    dates: tuple[str, ...]
    labels: tuple[dict[str, str], ...]
    british: dict[str, str]
    slips: dict[str, tuple[str, ...]]
    exam: Sentences
    indication_trauma: Sentences
    indication_follow_up: Sentences
    technique: Sentences
    comparison: Sentences
    comparison_in_text: Sentences
    present: ByRegion
    present_terse: ByRegion
    uncertain: ByRegion
    uncertain_terse: ByRegion
    headline: ByRegion
    headline_uncertain: Sentences
    second: Sentences
    second_uncertain: Sentences
    double: Sentences
    pair: Sentences
    pair_radius_ulna: Sentences
    pair_mixed: Sentences
    pair_absent: Sentences
    field_present: Sentences
    field_uncertain: Sentences
    field_absent: Sentences
    field_second: Sentences
    absent: ByRegion
    absent_terse: ByRegion
    absent_ulna_otherwise: Sentences
    absent_ulna_and_styloid: Sentences
    absent_radius_and_ulna: Sentences
    absent_pair: Sentences
    absent_triple: Sentences
    absent_global: Sentences
    absent_other: Sentences
    absent_other_old: Sentences
    impression_normal: Sentences
    impression_same: Sentences
    remarks: Sentences
    remarks_cast: Sentences
    remarks_osteopenia: Sentences
    remarks_aligned: Sentences
    advice: Sentences


@cache
def load_bank(name: str) -> Bank:
    """Return the bank `open` or `sealed`.

    Raises:
        ConfigError: there is no such bank.
    """
    if name not in BANKS:
        raise ConfigError(f"no sentence bank {name!r}; there are {', '.join(BANKS)}")
    text = (resources.files("wristmir_ray.phantom") / f"sentences_{name}.yaml").read_text(encoding="utf-8")
    return Bank.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
