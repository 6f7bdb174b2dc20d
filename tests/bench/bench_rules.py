"""The rules engine on the hand-written adversarial reports: reports/s of one core, and F1 by field.

There is no peer: no other extractor gives these records. The rate is the median of five passes. The
engine was written against most of these reports, or mended on them after they had been scored blind,
so that `f1` says that nothing broke. How it does on others say `held_out_f1`, of the one blind set it
was never mended on, and the demo's sealed reports (`findings_micro_f1`).
"""

import statistics
import time
from typing import Any

from tests.mining_cases import BLIND, CASES, HELD_OUT, gold

ROUNDS = 5


def measure() -> dict[str, Any]:
    """Return reports a second, micro-F1 and the table by field."""
    from wristmir_ray.mining.rules import mine
    from wristmir_ray.mining.scoring import findings_f1

    cases = [c for c in CASES + BLIND if "error" not in c]
    reports = [c["report"] for c in cases]
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        records = [mine(report) for report in reports]
        seconds.append(time.process_time() - started)
    found = [[f.model_dump(mode="json") for f in r.findings] for r in records]
    scores = findings_f1(found, [gold(c) for c in cases])
    unseen = findings_f1(found[-len(HELD_OUT) :], [gold(c) for c in HELD_OUT])
    table = {name: {k: round(f[k], 4) for k in ("precision", "recall", "f1")} for name, f in scores["fields"].items()}
    return {
        "ours": round(len(reports) / statistics.median(seconds), 1),
        "peer": None,
        "ratio": None,
        "unit": "reports/s a core",
        "reports": len(reports),
        "f1": round(scores["f1"], 4),
        "held_out_f1": round(unseen["f1"], 4),
        "held_out": len(HELD_OUT),
        "fields": table,
    }
