"""The gate of a benchmark can be missed."""

import importlib.util
from pathlib import Path

import pytest
import yaml

BENCH = Path(__file__).parents[2] / "bench"
spec = importlib.util.spec_from_file_location("bench_run", BENCH / "run.py")
assert spec
assert spec.loader
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)


@pytest.mark.parametrize(
    ("ratio", "gate", "expected"),
    [(0.95, {"min_ratio": 0.9}, False), (0.85, {"min_ratio": 0.9}, True), (1.2, {"max_ratio": 1.0}, True)],
)
def test_missed(ratio: float, gate: dict[str, float], expected: bool) -> None:
    assert run.missed({"ratio": ratio}, gate) is expected


def test_a_gate_holds_each_of_its_figures() -> None:
    gate = {"min_ours": 500, "min_f1": 0.95}
    assert not run.missed({"ours": 500, "f1": 0.95}, gate)
    assert run.missed({"ours": 499, "f1": 0.95}, gate)
    assert run.missed({"ours": 500, "f1": 0.94}, gate)


def test_every_gate_has_its_benchmark() -> None:
    gates = yaml.safe_load((BENCH / "gates.yaml").read_text())
    assert {p.stem.removeprefix("bench_") for p in BENCH.glob("bench_*.py")} == set(gates)


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_figures_by_field_are_a_table() -> None:
    assert run.table({"region": {"f1": 0.5, "recall": 1}}).splitlines() == [
        "| field | f1 | recall |",
        "|---|---|---|",
        "| region | 0.5000 | 1.0000 |",
    ]
