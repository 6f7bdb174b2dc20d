"""What may be tuned about deleting old runs."""

from pydantic import Field

from wristmir_ray.config import JobConfig


class PruneConfig(JobConfig):
    """Delete runs that are neither published nor what a published run was made from, nor held by a job that runs."""

    delete: bool = Field(False, description="delete; without it the summary only says what would go")
    keep: int = Field(
        1, ge=0, description="finished runs of each name that stay beside the published one, latest first"
    )
    min_age_h: float = Field(24.0, ge=0, description="younger runs stay, finished or not: a job may be writing them")
    work_age_h: float = Field(
        24.0 * 14, ge=0, description="fragments of an interrupted run stay so long: it could still be resumed"
    )
    cache_age_h: float = Field(
        24.0 * 90,
        ge=0,
        description="computed bones (ROOT/bone_cache) of detectors, encoder or code that no service was started with, "
        "and nothing was computed by, for so long; what a service needs again it computes again",
    )
