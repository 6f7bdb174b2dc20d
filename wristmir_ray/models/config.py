"""Which encoder."""

from typing import Literal

from pydantic import Field

from wristmir_ray.config import Section


class EncoderConfig(Section):
    """Which two-tower model, and where its weights come from."""

    model: str = Field(
        "wristmir_resnet",
        min_length=1,
        description="a configuration that ships with us (wristmir_resnet, biomedclip), any name of open_clip, "
        "hf-hub:ORG/NAME, or local-dir:FOLDER with open_clip_config.json (and, for a Hugging Face text tower, "
        "its config.json and tokenizer files)",
    )
    init: Literal["random", "pretrained"] = Field(
        "pretrained", description="pretrained: the run stops when weights are missing; random: train from scratch"
    )
    pretrained: str | None = Field(
        None, description="open_clip tag or weights file, for models named without hf-hub: or local-dir:"
    )
    image_size: int | None = Field(None, ge=16, le=1024, description="side in pixels; null = the model's own")
    context_length: int | None = Field(None, ge=8, le=512, description="text tokens; null = the model's own")
    fixed_batch: int | None = Field(
        None,
        ge=1,
        description="encode images in batches padded to this many, so that no embedding depends, to the last bit, "
        "on its neighbours; null = batches of 64 as they come (large models)",
    )
