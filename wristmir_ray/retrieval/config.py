"""What may be tuned about the index."""

from pydantic import Field

from wristmir_ray.anatomy import Split
from wristmir_ray.config import JobConfig, PoolConfig


class RetrievalConfig(JobConfig):
    """Embed every crop and publish the index."""

    splits: list[Split] = Field(list(Split), description="whose exams are indexed; all for service, some for studies")
    embed: PoolConfig = PoolConfig(batch_size=64)
