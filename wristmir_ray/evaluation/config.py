"""What may be tuned about evaluation."""

from pydantic import Field

from wristmir_ray.anatomy import Presence, Split
from wristmir_ray.config import JobConfig, PoolConfig


class EvaluationConfig(JobConfig):
    """Measure retrieval, image-to-text ranking and a linear probe on held-out patients."""

    split: Split = Field(Split.TEST, description="queries and gallery; the probe is fit on the train split")
    pool: int = Field(100, ge=1, description="candidates that stage 1 passes on (the paper's 100)")
    k: int = Field(10, ge=1, description="hits a query (the paper's 10)")
    healed: Presence = Field(
        Presence.PRESENT, description="what a healed fracture counts as: present, absent, or uncertain (left out)"
    )
    caption_ks: list[int] = Field([5, 10, 50, 100], description="cut-offs of image-to-text recall")
    resamples: int = Field(1000, ge=100, description="bootstrap draws of patients")
    shuffles: int = Field(200, ge=20, description="shuffles of the labels that give the level of chance")
    seed: int = Field(0, ge=0, description="of the bootstrap and the shuffles")
    embed: PoolConfig = PoolConfig(batch_size=64)
    search: PoolConfig = PoolConfig(batch_size=256)
