"""What may be tuned about training."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from wristmir_ray.anatomy import Region
from wristmir_ray.config import JobConfig, Place, Section
from wristmir_ray.models.config import EncoderConfig


class AugmentConfig(Section):
    """Random changes of a training crop. There is no flip: it would turn left wrists into right ones."""

    shift: float = Field(0.05, ge=0, le=0.5, description="largest shift, as a share of the crop's side")
    scale: float = Field(0.05, ge=0, lt=1, description="largest zoom in or out: scale in [1 - s, 1 + s]")
    rotate_deg: float = Field(0.0, ge=0, le=45, description="largest rotation either way, in degrees")
    gain: float = Field(0.15, ge=0, lt=1, description="brightness factor in [1 - g, 1 + g]")
    contrast: float = Field(0.15, ge=0, lt=1, description="contrast factor about the crop's mean, in [1 - c, 1 + c]")


class OptimConfig(Section):
    """AdamW and its schedule (WristMIR App. C)."""

    lr: float = Field(1e-5, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.01, ge=0, description="on matrices only, not on biases, norms or the temperature")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW")
    beta2: float = Field(0.98, ge=0, lt=1, description="AdamW")
    warmup_steps: int = Field(50, ge=0, description="linear steps up to the peak, then half a cosine down to zero")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    max_scale: float = Field(100.0, gt=1, description="upper bound of the learned 1 / temperature, as in CLIP")


class TrainableConfig(Section):
    """Which parameters move."""

    image_blocks: int | None = Field(8, ge=1, description="last ViT blocks that are trained; null = the whole tower")
    text: bool = Field(True, description="train the text tower (OpenCLIP's image lock leaves it trainable)")


class StepConfig(Section):
    """How a step is computed. Each means is exact: loss and gradients are those of the plain form but for rounding.

    None of this enters the run id: a run resumes with other means, as it does on other workers.
    """

    distinct_captions: bool = Field(True, description="encode each distinct caption of the global batch once")
    trim_captions: bool = Field(
        True, description="pad captions to the longest of the batch, not to the context, where the text tower allows it"
    )
    pooled_token: bool = Field(
        True, description="compute the last image block for the pooled token alone (timm ViTs that pool one token)"
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="images and captions that a rank encodes at a time, twice each (GradCache); null = its whole "
        "share at once. Refused for models with batch normalisation",
    )
    checkpoint_blocks: bool = Field(
        False,
        description="keep no activations inside image blocks, compute them again: less memory, a third more time. "
        "Refused for models with batch normalisation",
    )
    fused_optimizer: bool = Field(True, description="AdamW as one kernel")
    compile: bool | None = Field(None, description="compile the towers with torch.compile; null = on a GPU only")
    prefetch: int = Field(2, ge=0, le=16, description="batches that a thread reads ahead; 0 = none, no thread")


class ValidationConfig(Section):
    """What is measured after each epoch on the validation patients."""

    max_pairs: int = Field(4096, ge=2, description="validation pairs used: exams in the order of their hashed ids")
    keep_best_by: Literal["val_recall_at_5", "val_match_at_10", "val_loss"] = Field(
        "val_recall_at_5", description="the figure that chooses the published weights"
    )


class WorkersConfig(Section):
    """Where training runs. None of this enters the run id: a run resumes elsewhere, and on other numbers of workers.

    The latter not for models that learn another thing then: `sharing` refuses it.
    """

    num_workers: int = Field(4, ge=1, description="ranks; the global batch is split equally among them")
    min_workers: int | None = Field(
        None,
        ge=1,
        description="as few ranks as will do while nodes are lost or not there yet, at the same global batch (ranks "
        "that do not divide it stand by); null = num_workers and no fewer. Refused for image towers with batch "
        "normalisation or dropout",
    )
    resize_check_s: float = Field(
        60, gt=0, description="with min_workers: how often nodes that came back are looked for"
    )
    use_gpu: bool = Field(True, description="one GPU a rank; false: CPU")
    backend: Literal["nccl", "gloo"] | None = Field(
        None, description="null = nccl with GPUs, gloo without; gloo is what GPUs that only Ray counts need (tests)"
    )
    cpus: float = Field(4.0, gt=0, description="CPUs a rank reserves")
    label_selector: dict[str, str] = Field({}, description="node labels, e.g. {pool: gpu}")
    max_failures: int = Field(3, ge=0, description="times the ranks are started again from the last checkpoint")
    start_timeout_s: int = Field(
        900,
        ge=1,
        description="wait for nodes and for all ranks' start, at each of max_failures + 1 tries; with min_workers at "
        "most 60, after which the nodes are counted anew, without end",
    )
    collective_timeout_s: int = Field(300, ge=1, description="a rank that waits longer for the others fails")

    @model_validator(mode="after")
    def _fewer_at_least(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than num_workers {self.num_workers}")
        return self

    def resources(self) -> dict[str, float]:
        """Return what one rank reserves."""
        return {"CPU": self.cpus, **({"GPU": 1.0} if self.use_gpu else {})}


class TrainClipConfig(JobConfig):
    """Train the encoder on CROPS and CAPTIONS of the training patients and publish it."""

    root: Place = Field("artifacts/archive", description="folder or s3:// prefix with CROPS and CAPTIONS")
    encoder: EncoderConfig = EncoderConfig()
    trainable: TrainableConfig = TrainableConfig()
    loss: Literal["multi_positive", "single_positive"] = Field(
        "multi_positive", description="single_positive = CLIP's own loss: each pair is a class (WristMIR App. D)"
    )
    regions: tuple[Region, ...] = Field(
        tuple(Region), min_length=1, description="what is trained on; [wrist] alone is the paper's GLOBAL-ONLY FT"
    )
    batch_size: int = Field(2048, ge=2, description="global batch of image-caption pairs, over all ranks")
    epochs: int = Field(30, ge=1, description="passes over the training pairs")
    steps: int | None = Field(
        None, ge=1, description="optimiser steps in all, whatever the archive's size; null = epochs x full batches"
    )
    optim: OptimConfig = OptimConfig()
    augment: AugmentConfig = AugmentConfig()
    pixel_margin: float = Field(
        1.125, ge=1, le=2, description="crops are kept decoded at so many times the image size: zooming in stays sharp"
    )
    step: StepConfig = StepConfig()
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast of the towers; the loss stays fp32")
    validation: ValidationConfig = ValidationConfig()
    workers: WorkersConfig = WorkersConfig()
    decode_batch: int = Field(512, ge=1, description="crops a shard of the decoded training pixels")
    seed: int = Field(0, ge=0, description="seed of weights, order and augmentation")

    @model_validator(mode="after")
    def _splits_equally(self) -> Self:
        if self.batch_size % self.workers.num_workers:
            workers = self.workers.num_workers
            raise ValueError(f"batch_size {self.batch_size} cannot be split equally over {workers} workers")
        return self

    @model_validator(mode="after")
    def _trains_open_clip(self) -> Self:
        if self.encoder.kind != "open_clip":
            kind = self.encoder.kind
            raise ValueError(
                f"encoder.kind {kind} is a baseline that is not trained here: jobs/build_index_baseline.yaml"
            )
        return self

    def settings(self, start: str = "") -> dict[str, Any]:
        """Return what changes the weights: goes into the run id.

        Args:
            start: digest of what the model starts from, which then stands for the names of its files.
        """
        where = {"root", "log", "ray", "workers", "step", "max_reject_share", "fragment_rows", "decode_batch"}
        found = self.model_dump(mode="json", exclude=where)
        if start:
            found["encoder"] = {"start": start, **self.encoder.model_dump(include={"init", "fixed_batch"})}
        return found
