"""What the mining benchmarks compute."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from tests.mining_cases import READABLE, distinct_reports

BENCH = Path(__file__).parents[2] / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_what_is_paid_once_falls_out_of_the_rate() -> None:
    engine = load("bench_mining_engine")
    side = engine.Side(engine.Run(50, 500, 30.0), engine.Run(250, 2500, 130.0))
    assert (side.rate, side.start_s) == (2.0, 5.0)


def test_the_memory_of_a_tree_counts_its_children() -> None:
    memory = load("peak")
    assert memory.tree_pss(os.getpid()) > 10 * 2**20
    assert memory.tree_pss(2**30) == 0, "a process that has ended"


def test_no_two_reports_are_equal() -> None:
    reports = list(distinct_reports(2 * len(READABLE) + 1))
    assert len(set(reports)) == len(reports)
