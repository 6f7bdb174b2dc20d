"""What may be tuned about detector training."""

from typing import Literal

from pydantic import Field

from wristmir_ray.anatomy import Region
from wristmir_ray.config import JobConfig, PoolConfig, Section
from wristmir_ray.imaging.config import DecodeConfig, EnhanceConfig

Target = Literal["roi", "bones"]


class TargetConfig(Section):
    """One detector's training."""

    target: Target = Field(description="roi: the wrist in the whole image; bones: three bones in the enhanced wrist")
    model: str = Field("yolo11n.yaml", description="architecture; random weights unless `weights` names a file")
    weights: str | None = Field(
        None, description="local .pt file to start from (trusted: it is a pickle); the paper starts from COCO"
    )
    train_images: int | None = Field(
        None, ge=1, description="of the chosen training exams, how many this detector learns from; null = all"
    )
    image_size: int = Field(160, ge=64, multiple_of=32, description="side of the network's square input, px")
    epochs: int = Field(12, ge=1, description="epochs at most")
    stop_map50: float = Field(0.99, gt=0, description="validation mAP50 from which training ends early; above 1: never")
    stop_map50_95: float = Field(0.0, ge=0, description="validation mAP50-95 that must be reached too, for tight boxes")
    batch: int = Field(8, ge=1, description="images an optimiser step; no gradient accumulation")
    learning_rate: float = Field(2e-3, gt=0, description="AdamW's, decays linearly over `epochs`")
    degrees: float = Field(5.0, ge=0, le=180, description="random rotation, +- degrees")
    translate: float = Field(0.1, ge=0, le=1, description="random shift, share of the image")
    scale: float = Field(0.2, ge=0, lt=1, description="random zoom, +- share")
    brightness: float = Field(0.3, ge=0, le=1, description="random exposure, +- share")
    flip: float = Field(
        0.5,
        ge=0,
        le=1,
        description="probability of mirroring: a mirrored left wrist is a right wrist, and the bones keep their names",
    )


class DetectionConfig(JobConfig):
    """Train the wrist detector and the bone detector side by side, and publish both as ONNX."""

    boxes: str = Field(
        description="true boxes: Parquet (file, region, x0_px, y0_px, x1_px, y1_px in source pixels), COCO .json, YOLO "
        "data.yaml, or a folder of Pascal VOC .xml"
    )
    classes: dict[str, Region] = Field(
        {}, description="the labels' name of a class -> region; a region's own name needs none, others are left out"
    )
    seed: int = Field(0, ge=0, description="which exams are taken, margins, initial weights")
    train_images: int = Field(360, ge=1, description="exams of the train split at most")
    val_images: int = Field(80, ge=1, description="exams of the val split at most")
    empty_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the training exams whose hand or forearm alone, without the wrist, is shown to the wrist "
        "detector as a picture of none",
    )
    pair_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the training exams that are shown to the wrist detector beside their mirror image, too, "
        "as a picture of two wrists",
    )
    roi: TargetConfig = TargetConfig(target="roi")
    bones: TargetConfig = TargetConfig(target="bones", image_size=224)
    decode: DecodeConfig = DecodeConfig()
    enhance: EnhanceConfig = EnhanceConfig()
    roi_margin: float = Field(
        0.05, ge=0, le=1, description="margin that preprocess cuts around the wrist; must be the one set there"
    )
    roi_jitter: float = Field(
        0.06,
        ge=0,
        le=0.4,
        description="each edge of a true wrist box moves by up to this share: found boxes are not true",
    )
    iou_threshold: float = Field(0.5, gt=0, lt=1, description="overlap above which two boxes of one class are one")
    prepare: PoolConfig = PoolConfig(batch_size=16)
    train: PoolConfig = PoolConfig()
