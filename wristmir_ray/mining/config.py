"""Settings of report mining."""

from typing import Literal

from pydantic import Field

from wristmir_ray.config import JobConfig, PoolConfig


class MiningConfig(JobConfig):
    """Settings of `jobs/mine_reports.py`."""

    engine: Literal["rules"] = Field("rules", description="what reads the reports")
    reports: PoolConfig = PoolConfig(batch_size=256)
    """Where reports are read."""
    captions: PoolConfig = PoolConfig(batch_size=1024)
    """Where captions are written."""
    join_partitions: int = Field(
        8,
        ge=1,
        le=4096,
        description="parts in which exams meet their findings: about exams / 100,000, at least the cores",
    )
    fragment_rows: int = Field(512, ge=1, description="reports or exams a fragment: what a crash can lose, per worker")
