"""Marks that people gave on the sheet: read, checked against the run, joined with the values they are of."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import Field, ValidationError, model_validator

from wristmir_ray import storage
from wristmir_ray.audit.values import EXAM
from wristmir_ray.config import Section
from wristmir_ray.errors import ConfigError
from wristmir_ray.metrics.proportion import weighted_share, wilson
from wristmir_ray.mining.findings import MAX_FINDINGS, Field_
from wristmir_ray.mining.scoring import FIELDS

Verdict = Literal["right", "wrong", "hallucinated"]
VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "hallucinated")
"""wrong: the report says something else there; hallucinated: the report says nothing of it."""


class Mark(Section):
    """A person's verdict on one value."""

    report_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    finding: int = Field(ge=EXAM, lt=MAX_FINDINGS)
    field: Field_
    mark: Verdict

    @property
    def address(self) -> tuple[str, int, str]:
        return self.report_id, self.finding, self.field


class Marks(Section):
    """What the sheet's download holds."""

    audit: str = Field(description="run of AUDIT that the sheet was made from")
    marks: tuple[Mark, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({m.address for m in self.marks}) < len(self.marks):
            raise ValueError("a value is marked twice")
        return self


@dataclass(frozen=True, slots=True)
class MarkedValue:
    """One mark beside what the checks think of the value."""

    report_id: str
    field: str
    mark: Verdict
    weight: float
    """Reports of the archive that its report stands for."""
    conflicts: int
    record_conflicts: int
    agrees: bool
    """The rules read the same of this field."""

    @property
    def trust(self) -> tuple[int, int, bool]:
        """Order of trust: smaller is more."""
        return self.conflicts, self.record_conflicts, not self.agrees


def load_marks(uri: str) -> Marks:
    """Return the marks of a file.

    Raises:
        ConfigError: there is no such file, or it is no file of marks.
    """
    try:
        return Marks.model_validate(json.loads(storage.read_bytes(uri)))
    except OSError as e:
        raise ConfigError(f"cannot read marks {uri}: {e.strerror or 'no such file'}") from None
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(p) for p in first["loc"]) or "the file"
        raise ConfigError(f"marks {uri}: {e.error_count()} errors, the first at {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"marks {uri} is not JSON; give the file that the sheet's download made") from None


def join(
    marks: Marks, audit: Mapping[str, Mapping[str, Any]], known: set[tuple[str, int, str]], sizes: Mapping[str, float]
) -> list[MarkedValue]:
    """Return the marks beside the checks.

    Args:
        marks: what people gave.
        audit: report id -> its row of AUDIT.
        known: addresses of all values of these reports.
        sizes: report id -> reports of the archive that it stands for.

    Raises:
        ConfigError: a mark is of a value that no record has.
    """
    strangers = [m for m in marks.marks if m.address not in known]
    if strangers:
        raise ConfigError(f"{len(strangers)} of {len(marks.marks)} marks are of values that these records do not hold")
    out = []
    for m in marks.marks:
        row = audit[m.report_id]
        own = sum((c["finding"], c["field"]) == (m.finding, m.field) for c in row["conflicts"])
        agrees = m.field not in FIELDS or m.field not in row["rules_disagree"]
        out.append(MarkedValue(m.report_id, m.field, m.mark, sizes[m.report_id], own, len(row["conflicts"]), agrees))
    return out


def score(marked: Sequence[MarkedValue]) -> dict[str, Any]:
    """Return the verdicts by field and over all, and accuracy against coverage.

    Returns:
        reports; fields: field -> {n, right, wrong, hallucinated, rate, archive}, `rate` the share
        hallucinated with its Wilson interval, `archive` the same weighted to the archive; all;
        curve: points {conflicts, record_conflicts, agrees, coverage, accuracy}, most trusted first.
    """
    names = dict.fromkeys(m.field for m in sorted(marked, key=lambda m: _ORDER.index(m.field)))
    return {
        "reports": len({m.report_id for m in marked}),
        "fields": {n: _verdicts([m for m in marked if m.field == n]) for n in names},
        "all": _verdicts(marked),
        "curve": _curve(marked),
    }


_ORDER: tuple[str, ...] = get_args(Field_)


def _verdicts(marked: Sequence[MarkedValue]) -> dict[str, Any]:
    counts = Counter(m.mark for m in marked)
    made_up_N = np.array([m.mark == "hallucinated" for m in marked])
    weights_N = np.array([m.weight for m in marked])
    return {
        "n": len(marked),
        **{v: counts[v] for v in VERDICTS},
        "rate": wilson(counts["hallucinated"], len(marked)).as_dict(),
        "archive": weighted_share(made_up_N, weights_N).as_dict(),
    }


def _curve(marked: Sequence[MarkedValue]) -> list[dict[str, Any]]:
    total = sum(m.weight for m in marked)
    points = []
    for level in sorted({m.trust for m in marked}):
        kept = [m for m in marked if m.trust <= level]
        weights_N = np.array([m.weight for m in kept])
        accuracy = weighted_share(np.array([m.mark == "right" for m in kept]), weights_N)
        point = {"conflicts": level[0], "record_conflicts": level[1], "agrees": not level[2]}
        points.append({**point, "coverage": round(float(weights_N.sum()) / total, 4), "accuracy": accuracy.as_dict()})
    return points
