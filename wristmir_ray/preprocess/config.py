"""What may be tuned about regions and crops."""

from pydantic import Field

from wristmir_ray.anatomy import Region
from wristmir_ray.config import JobConfig, Place, PoolConfig, Section
from wristmir_ray.imaging.config import DecodeConfig, EnhanceConfig
from wristmir_ray.models.networks import RuntimeConfig


class RegionConfig(Section):
    """How a radiograph becomes four crops. Archive and queries must share it, so crops carry its hash."""

    enhance: EnhanceConfig = EnhanceConfig()
    roi_margin: float = Field(
        0.05, ge=0, le=1, description="added around the wrist, share of its side; the bones are learned on such cuts"
    )
    bone_margin: float = Field(
        0.15, ge=0, le=1, description="added around a bone, share of its side: a cortex at the very edge is not judged"
    )
    styloid_margin: float = Field(
        0.5,
        ge=0,
        le=2,
        description="the same around the styloid: its box is close and small, and what tells an avulsion is the gap "
        "between the tip and the dome it left, which lies beside the box",
    )
    crop_size: int = Field(
        224,
        ge=32,
        description="side of a stored crop at most, px: the paper's encoder input; smaller crops are kept as they are, "
        "since enlarging stores no information and the encoder enlarges them anyway",
    )
    styloid_reach: float = Field(
        0.25, ge=0, le=2, description="how far from the ulna's box a styloid may lie, share of that box's side"
    )
    styloid_inward: float = Field(
        0.1,
        ge=0,
        le=1,
        description="how far its centre may lie on the radial side of the ulna's middle, share of the ulna's width",
    )
    same_bone_iou: float = Field(
        0.5, gt=0, le=1, description="a radius and an ulna that overlap by this much are one bone seen twice"
    )
    present: float = Field(
        0.75,
        ge=0,
        le=1,
        description="score of the surer of radius and ulna, as share of a true one's in validation, below which "
        "the picture shows no wrist's forearm",
    )
    certain: float = Field(
        0.9, ge=0, le=1, description="mean of both, below which a picture is looked at turned by 180 degrees, too"
    )
    surer: float = Field(0.18, ge=0, le=1, description="by how much that must raise the score of an upside-down one")

    def margin(self, bone: Region) -> float:
        """Return what is added on each side of a bone's box when it is cut, share of that side."""
        return self.styloid_margin if bone == Region.ULNAR_STYLOID else self.bone_margin


class PreprocessConfig(JobConfig):
    """Find wrist and bones in every good exam; publish REGIONS (boxes) and CROPS (pixels)."""

    detectors: Place | None = Field(None, description="root under which the detectors are published; default `root`")
    roi_run: str | None = Field(None, description="run of roi_detector; default the published one")
    bone_run: str | None = Field(None, description="run of bone_detector; default the published one")
    decode: DecodeConfig = DecodeConfig()
    regions: RegionConfig = RegionConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    read: PoolConfig = PoolConfig(batch_size=8)
    """Where images are decoded when the detectors have GPUs; without, the detecting workers decode."""
    detect: PoolConfig = PoolConfig(batch_size=8)
    """Where the detectors are. With `num_gpus`, `num_cpus` threads of a worker enhance and cut beside its GPU."""
    preview: int = Field(0, ge=0, le=200, description="draw this many exams on a contact sheet beside the crops")
