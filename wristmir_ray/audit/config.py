"""What may be tuned about the audit of mined reports."""

from pydantic import Field

from wristmir_ray.config import JobConfig, Place


class AuditConfig(JobConfig):
    """Settings of `jobs/audit_reports.py`."""

    sample: int = Field(250, ge=1, le=5000, description="reports on the sheet that people mark")
    seed: int = Field(0, ge=0, description="of the sample and of the seeded fabrications")
    marks: Place | None = Field(None, description="a file of marks that the sheet gave; null = only audit")
    join_partitions: int = Field(
        8, ge=1, le=4096, description="parts in which reports meet their records, exams and captions"
    )
    num_cpus: float = Field(1.0, gt=0, description="CPUs a checking task reserves")
    fragment_rows: int = Field(512, ge=1, description="reports a fragment: what a crash can lose, per worker")
