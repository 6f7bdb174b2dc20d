"""Score the rules extractor on reports whose sentence patterns it was never tuned on."""

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.errors import Reject


def score_sealed(config: DemoConfig) -> Mapping[str, Any]:
    """Mine the archive's sealed reports and return `mining.scoring.findings_f1` against what they state."""
    from wristmir_ray.mining.scoring import findings_f1

    rows = pq.read_table(f"{config.phantoms}/sealed_reports.parquet").to_pylist()
    score: Mapping[str, Any] = findings_f1([_mined(r["report"]) for r in rows], [r["reported"] for r in rows])
    return score


def _mined(report: str) -> list[dict[str, Any]] | None:
    from wristmir_ray.mining.rules import mine

    try:
        return [f.model_dump(mode="json") for f in mine(report).findings]
    except Reject:
        return None
