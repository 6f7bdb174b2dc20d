"""Which encoder."""

import os
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wristmir_ray.config import Section, absolute

_LOCAL = "local-dir:"


def _absolute(model: str) -> str:
    """Ray's workers run in folders of their own, where a relative path names another place."""
    return _LOCAL + absolute(model.removeprefix(_LOCAL)) if model.startswith(_LOCAL) else model


def is_file(pretrained: str) -> bool:
    """Return whether `pretrained` names a file: it holds a slash, a dot or ~, which no tag of open_clip does."""
    return any(sign in pretrained for sign in (os.sep, ".", "~"))


def _absolute_file(pretrained: str | None) -> str | None:
    return absolute(pretrained) if pretrained is not None and is_file(pretrained) else pretrained


class EncoderConfig(Section):
    """Which two-tower model, and where its weights come from."""

    kind: Literal["open_clip", "pmc_clip", "medclip"] = Field(
        "open_clip", description="whose architecture: open_clip (BiomedCLIP among them), or a baseline of the paper"
    )
    model: Annotated[str, AfterValidator(_absolute)] = Field(
        "wristmir_resnet",
        min_length=1,
        description="where the model's files lie: local-dir:FOLDER, s3://BUCKET/PREFIX or hf-hub:ORG/NAME; or an "
        "architecture: of open_clip, one that ships with us (wristmir_resnet, biomedclip) or any name of open_clip; "
        "of pmc_clip: pmc_clip; of medclip: medclip_vit, medclip_resnet. A folder of open_clip holds "
        "open_clip_config.json, the weights and, for a Hugging Face text tower, its tokenizer files (and its "
        "config.json, unless it is BiomedCLIP's)",
    )
    init: Literal["random", "pretrained"] = Field(
        "pretrained", description="pretrained: the run stops when weights are missing; random: train from scratch"
    )
    pretrained: Annotated[str | None, AfterValidator(_absolute_file)] = Field(
        None,
        min_length=1,
        description="for models of open_clip that are named, not placed: a tag of open_clip, or a file of weights, "
        "there on every node",
    )
    image_size: int | None = Field(None, ge=16, le=1024, description="side in pixels; null = the model's own")
    context_length: int | None = Field(None, ge=8, le=512, description="text tokens; null = the model's own")
    fixed_batch: int | None = Field(
        None,
        ge=1,
        description="encode images in batches padded to this many, and texts one by one, so that no embedding "
        "depends, to the last bit, on its neighbours; null = batches of 64 as they come (large models)",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.pretrained is not None and (self.model.startswith((_LOCAL, "hf-hub:")) or "://" in self.model):
            raise ValueError("encoder.model says where the weights lie, so that encoder.pretrained must be null")
        return self
