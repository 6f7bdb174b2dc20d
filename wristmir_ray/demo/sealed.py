"""Score the rules extractor on reports whose sentence patterns it was never tuned on."""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from wristmir_ray import keys
from wristmir_ray.demo.config import DemoConfig


def score_sealed(config: DemoConfig) -> Mapping[str, Any]:
    """Mine the archive's sealed reports and return micro precision, recall and F1 over
    (region, presence, type, displacement, healing), with the table by field."""
    from wristmir_ray.mining.rules import mine
    from wristmir_ray.mining.scoring import findings_f1

    rows = pq.read_table(f"{config.phantoms}/sealed_reports.parquet").to_pylist()
    truth = {f"{i}-{keys.report_id(r['report'])}": r["reported"] for i, r in enumerate(rows)}
    predicted = {k: mine(r["report"]) for k, r in zip(truth, rows, strict=True)}
    score: Mapping[str, Any] = findings_f1(predicted, truth)
    return score
