"""What the benchmark of the de-identification gate counts."""

import importlib.util
from pathlib import Path

import pytest

from tests.overlays import fonts, text
from tests.overlays.exam import draw_exam

SPEC = importlib.util.spec_from_file_location("bench_deid", Path(__file__).parents[2] / "bench" / "bench_deid.py")
assert SPEC
assert SPEC.loader
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


def test_it_counts_both_kinds() -> None:
    found = bench.measure(phantoms=4)
    assert found["phantoms"] == 4
    assert found["recall"] == 1.0
    assert found["recall_interval"]["low"] < 1.0
    assert found["false_quarantine"] <= 0.25
    assert found["ms"] > 0
    assert {"ours", "peer", "ratio", "unit"} <= found.keys()


@pytest.mark.parametrize(("sees", "recall"), [(lambda _: True, 1.0), (lambda _: False, 0.0)])
def test_a_blind_and_a_frightened_gate(monkeypatch: pytest.MonkeyPatch, sees: object, recall: float) -> None:
    monkeypatch.setattr(bench, "seen", sees)
    monkeypatch.setattr(bench, "rates", lambda _: {})
    found = bench.measure(phantoms=2)
    assert (found["recall"], found["false_quarantine"]) == (recall, recall)
    assert bool(found["missed"]) is (recall == 0)


def test_what_is_measured_was_not_looked_at() -> None:
    assert not set(fonts.DEVELOPED) & set(fonts.HELD_OUT)
    assert not set(text.DEVELOPED_LAYOUTS) & set(text.HELD_OUT_LAYOUTS)


def test_burned_text_stands_where_it_is_said_to() -> None:
    exam = draw_exam(3, 0, with_text=True, most_objects=0)
    plain = draw_exam(3, 0, with_text=False, most_objects=0)
    assert exam.burned
    assert exam.burned.contrast >= text.MIN_CONTRAST
    assert plain.burned is None
    again = draw_exam(3, 0, with_text=True, most_objects=0)
    assert (again.pixels == exam.pixels).all()
