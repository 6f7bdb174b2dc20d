"""What may be tuned about the index."""

from pydantic import Field

from wristmir_ray.anatomy import Split
from wristmir_ray.config import JobConfig, PoolConfig
from wristmir_ray.models.config import EncoderConfig


class RetrievalConfig(JobConfig):
    """Embed every crop and publish the index."""

    splits: list[Split] = Field(list(Split), description="whose exams are indexed; all for service, some for studies")
    encoder: EncoderConfig | None = Field(
        None,
        description="null = the published encoder; else this one is published first, as it is, without training: "
        "a baseline, for evaluate too",
    )
    embed: PoolConfig = PoolConfig(batch_size=64)
