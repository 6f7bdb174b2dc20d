"""Run every benchmark, print one JSON line each (a table, too, where there are `fields`), hold them against gates.yaml.

    python tests/bench/run.py [NAME ...]

A benchmark is a module beside this one with `measure() -> dict` that gives at least name, ours,
peer, ratio and unit; peer and ratio are null where a rate is promised as such. Exit code 1: a gate
was missed; 2: a benchmark has no gate or a gate no benchmark.
"""

import importlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def environment() -> dict[str, Any]:
    """Return what the figures were measured on."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()[0]}


def table(fields: Mapping[str, Mapping[str, float]]) -> str:
    """Return figures by field as a Markdown table."""
    columns = list(next(iter(fields.values())))
    lines = [f"| field | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{f[c]:.4f}' for c in columns)} |" for name, f in fields.items()]
    return "\n".join(lines)


def missed(result: Mapping[str, Any], gate: Mapping[str, float]) -> bool:
    """Return whether a result misses its gate: `min_x` and `max_x` bound the result's figure x."""
    bounds = [(name.split("_", 1), value) for name, value in gate.items()]
    return not all(result[x] >= v if kind == "min" else result[x] <= v for (kind, x), v in bounds)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all that have a gate."""
    gates = yaml.safe_load((HERE / "gates.yaml").read_text())
    unknown = [n for n in names if n not in gates]
    if unknown:
        print(f"no gate for {unknown}; gates.yaml has {sorted(gates)}", file=sys.stderr)
        return 2
    failures = []
    for name in names or sorted(gates):
        result = importlib.import_module(f"bench_{name}").measure()
        line = {"name": name, **result, "gate": gates[name], "environment": environment()}
        print(json.dumps(line), flush=True)
        if "fields" in result:
            print(table(result["fields"]), file=sys.stderr, flush=True)
        if missed(result, gates[name]):
            failures.append(name)
    if failures:
        print(f"gates missed: {failures}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
