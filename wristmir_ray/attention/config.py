"""What may be tuned about attention maps."""

from typing import Literal, Self

from pydantic import Field, model_validator

from wristmir_ray.anatomy import Region, Split
from wristmir_ray.attention.maps import Method
from wristmir_ray.config import JobConfig, PoolConfig, Section


class MapConfig(Section):
    """How a map is made."""

    method: Method = Field(
        Method.OCCLUSION,
        description="occlusion: any encoder, some 300 images each; hires_cam: convolutional encoders; rollout and "
        "gradient_rollout: a ViT, as BiomedCLIP's. rollout alone does not depend on the target",
    )
    window: float = Field(0.2, gt=0, le=1, description="of occlusion: side of a window, as a share of the crop's")
    stride: float = Field(0.0625, gt=0, le=1, description="of occlusion: from one window to the next, as such a share")


class AttentionConfig(JobConfig):
    """Draw attention maps of exams: overlays and one sheet."""

    region: Region = Field(Region.DISTAL_RADIUS, description="whose crops are drawn")
    exams: list[str] = Field([], description="exam ids; none: the first `count` of `split` with a fracture there")
    count: int = Field(12, ge=1, description="exams, where none are named")
    split: Split = Field(Split.TEST, description="whose exams, where none are named")
    target: Literal["finding", "caption", "text", "exam"] = Field(
        "finding",
        description="what the similarity is to. finding: the exam's caption against the usual one of the opposite "
        "finding; caption: the exam's caption alone; text, exam: below",
    )
    text: str | None = Field(None, min_length=1, description="of target text: a caption")
    similar_to: str | None = Field(None, min_length=1, description="of target exam: an exam id; its crop is the target")
    map: MapConfig = MapConfig()
    encoder_run: str | None = Field(None, description="run of the encoder; null = the published one")
    before_run: str | None = Field(None, description="a second run, as before the fine-tune, for a column of its own")
    tile_px: int = Field(224, ge=64, le=1024, description="side of a picture on the sheet")
    draw: PoolConfig = PoolConfig(batch_size=4)

    @model_validator(mode="after")
    def _target_is_given(self) -> Self:
        for target, name in (("text", "text"), ("exam", "similar_to")):
            if (self.target == target) != (getattr(self, name) is not None):
                raise ValueError(f"setting '{name}' belongs to target {target}: give both or neither")
        return self
