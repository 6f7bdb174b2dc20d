"""Marks: what is accepted, how they are counted, accuracy against coverage."""

import json
from pathlib import Path
from typing import Any

import pytest

from wristmir_ray.audit.curve import curve_svg
from wristmir_ray.audit.marks import MarkedValue, Marks, join, load_marks, score
from wristmir_ray.audit.pages import marks_page
from wristmir_ray.errors import ConfigError

REPORT = "a" * 32


def mark(field: str = "presence", finding: int = 0, verdict: str = "right", report: str = REPORT) -> dict[str, Any]:
    return {"report_id": report, "finding": finding, "field": field, "mark": verdict}


def written(folder: Path, content: Any) -> str:
    file = folder / "marks.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("[" * 5000, "not JSON"),
        ({"marks": [mark()]}, "audit"),
        ({"audit": "r", "marks": []}, "marks"),
        ({"audit": "r", "marks": [mark(verdict="maybe")]}, "marks.0.mark"),
        ({"audit": "r", "marks": [mark(field="colour")]}, "marks.0.field"),
        ({"audit": "r", "marks": [mark(report="../x")]}, "marks.0.report_id"),
        ({"audit": "r", "marks": [mark(), mark()]}, "twice"),
        ({"audit": "r", "marks": [{**mark(), "note": "secret words"}]}, "marks.0.note"),
    ],
)
def test_a_malformed_file_is_one_line(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_marks(written(tmp_path, content))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no_such"):
        load_marks(str(tmp_path / "no_such.json"))


def test_marks_meet_their_conflicts(tmp_path: Path) -> None:
    marks = load_marks(written(tmp_path, {"audit": "r", "marks": [mark(), mark("healing", verdict="hallucinated")]}))
    conflicts = [{"finding": 0, "field": "healing", "kind": "ungrounded"}]
    audit = {REPORT: {"conflicts": conflicts, "rules_disagree": ["healing"]}}
    known = {m.address for m in marks.marks}
    presence, healing = join(marks, audit, known, {REPORT: 3.0})
    assert presence.trust == (0, 1, False)
    assert healing.trust == (1, 1, True)
    with pytest.raises(ConfigError, match="1 of 2 marks"):
        join(marks, audit, {marks.marks[0].address}, {REPORT: 1.0})


def value(verdict: str, conflicts: int = 0, weight: float = 1.0, field: str = "healing") -> MarkedValue:
    return MarkedValue(REPORT, field, verdict, weight, conflicts, conflicts, not conflicts)  # type: ignore[arg-type]


def test_rates_and_the_curve() -> None:
    marked = [value("right")] * 8 + [value("wrong")] + [value("hallucinated", 2, weight=0.5)] * 2
    figures = score([*marked, value("right", field="region")])
    healing = figures["fields"]["healing"]
    assert (healing["n"], healing["right"], healing["wrong"], healing["hallucinated"]) == (11, 8, 1, 2)
    assert healing["rate"]["value"] == pytest.approx(2 / 11, abs=1e-4)
    assert healing["archive"]["value"] == pytest.approx(1 / 10, abs=1e-4)
    assert list(figures["fields"]) == ["region", "healing"]
    trusted, everything = figures["curve"]
    assert (trusted["coverage"], trusted["accuracy"]["value"]) == (pytest.approx(10 / 11, abs=1e-4), 0.9)
    assert (everything["coverage"], everything["accuracy"]["value"]) == (1.0, pytest.approx(9 / 11, abs=1e-4))
    page = marks_page({**figures, "audit": "r1"}, "curve.svg")
    assert "| healing | 11 | 8 | 1 | 2 |" in page
    assert curve_svg(figures["curve"]) == curve_svg(figures["curve"])
    assert curve_svg(figures["curve"]).startswith(b"<?xml")


def test_the_schema_is_what_the_sheet_writes() -> None:
    assert Marks.model_validate({"audit": "r", "marks": [mark(finding=-1, field="views")]}).marks[0].finding == -1
