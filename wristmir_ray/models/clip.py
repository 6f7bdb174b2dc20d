"""Two-tower models of open_clip: made by name, frozen in part, stored without pickle.

A published encoder is a folder that open_clip itself can load (`local-dir:`): its configuration,
`model.safetensors` and, for a Hugging Face text tower, that tower's configuration and tokenizer. The models
that open_clip does not know are `baselines`, and are stored in a folder of their own making.
torch and open_clip are imported inside the functions (4 s).
"""

import functools
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wristmir_ray.errors import ConfigError
from wristmir_ray.models import weights
from wristmir_ray.models.config import EncoderConfig, is_file
from wristmir_ray.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch

CONFIGS = Path(__file__).parent / "configs"
OPEN_CLIP_CONFIG = "open_clip_config.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Clip:
    """A model and all that must travel with its weights."""

    model: Any
    """forward(images, tokens) -> (image features, text features, 1 / temperature), unit norm."""
    tokenizer: Tokenizer
    architecture: dict[str, Any]
    """open_clip's `model_cfg` and `preprocess_cfg`."""
    fixed_batch: int | None

    @property
    def kind(self) -> str:
        """Whose architecture it is, as in `EncoderConfig`."""
        return str(self.architecture.get("kind", "open_clip"))

    @property
    def image_size(self) -> int:
        return int(self.architecture["model_cfg"]["vision_cfg"]["image_size"])

    @property
    def dim(self) -> int:
        return int(self.architecture["model_cfg"]["embed_dim"])

    def tokens(self, texts: list[str], trim: bool = True) -> "torch.Tensor":
        """Return int64 (T, L): L the longest of these texts where padding beyond it changes nothing."""
        tokens = self.tokenizer(texts)
        return self.trim(tokens) if trim else tokens

    def trim(self, tokens_TL: "torch.Tensor") -> "torch.Tensor":
        """Cut padding that all texts have at their end, where the text tower gives the same without it."""
        pad = _neutral_padding(self.model.text)
        if pad is None or not len(tokens_TL):
            return tokens_TL
        real_L = (tokens_TL != pad).any(0).nonzero()
        return tokens_TL[:, : int(real_L[-1]) + 1] if len(real_L) else tokens_TL


def _neutral_padding(text: Any) -> int | None:
    """Return the padding's id where no text's features depend on how much of it follows; else None.

    A Hugging Face tower masks its padding, and pools the first token or the mean of what is not masked.
    In open_clip's own no token sees the padding after it when the mask is causal, or masks it: unless
    the pooled token is the last one, or one appended behind it. The baselines' say it themselves.
    """
    if hasattr(text, "neutral_padding"):
        return None if text.neutral_padding is None else int(text.neutral_padding)
    if hasattr(text, "config"):
        masked = type(text.pooler).__name__ in {"ClsPooler", "ClsLastHiddenStatePooler", "MeanPooler"}
        return int(text.config.pad_token_id) if masked else None
    unseen = text.attn_mask is not None or text.use_pad_mask
    if unseen and text.cls_emb is None and text.pool_type in {"argmax", "eos", "first"}:
        return int(text.pad_id)
    return None


def build(config: EncoderConfig) -> Clip:
    """Make a model through open_clip (or of another `kind`), offline unless its name says `hf-hub:`.

    Every model gets its text tower as a module of its own (`custom_text`). Random weights come
    from torch's global generator: seed it before.

    Raises:
        ConfigError: an unknown name, missing or unfitting weights, a Hub that cannot be reached.
    """
    if config.kind != "open_clip":
        from wristmir_ray.models import baselines

        return baselines.build(config)
    if config.init == "pretrained" and config.pretrained and is_file(config.pretrained):
        weights.check_file(config.pretrained)
    try:
        return _create(config)
    except ConfigError:
        raise
    except Exception as e:
        wanted = "with weights " if config.init == "pretrained" else ""
        mend = (
            weights.how_to_fetch(config.model)
            if config.model.startswith(weights.HUB)
            else "give a local-dir: folder, s3:// prefix or hf-hub: name that holds its files; a name of open_clip "
            "alone has weights by encoder.pretrained, or random ones by init: random"
        )
        raise ConfigError(f"cannot load encoder '{config.model}' {wanted}({type(e).__name__}); {mend}") from e


def _create(config: EncoderConfig) -> Clip:
    import open_clip

    _register()
    name = weights.local_name(config.model)
    cfg = open_clip.get_model_config(name)
    if cfg is None:
        raise ConfigError(f"open_clip knows no model '{config.model}'")
    length = {"context_length": config.context_length} if config.context_length else {}
    text_cfg = {**cfg["text_cfg"], **length}
    with _quiet():
        model = open_clip.create_model(
            name,
            pretrained=config.pretrained,
            load_weights=config.init == "pretrained",
            require_pretrained=config.init == "pretrained",
            pretrained_text=False,  # the default asks the Hub, whatever the configuration says
            force_custom_text=True,
            force_image_size=config.image_size,
            text_cfg=_local_text_tower(name, text_cfg),
        )
    vision_cfg = {**cfg["vision_cfg"], "image_size": model.visual.image_size[0]}
    cfg = {**cfg, "custom_text": True, "text_cfg": text_cfg, "vision_cfg": vision_cfg}
    architecture = {"model_cfg": cfg, "preprocess_cfg": open_clip.get_model_preprocess_cfg(model)}
    if hasattr(model.text.transformer, "resblocks"):
        model.text.transformer.register_forward_pre_hook(_fit_mask, with_kwargs=True)
    return Clip(model, Tokenizer(name, text_cfg), architecture, config.fixed_batch)


def lock(clip: Clip, image_blocks: int | None, text: bool) -> None:
    """Freeze all but the last `image_blocks` blocks of a ViT (WristMIR §3.1: eight), and the text tower or not.

    The final norm and the projection are always trained. open_clip counts groups of parameters: in a
    timm ViT [embeddings, block 0, ..., last block + norm], so that n groups are n blocks; in its own
    ViT the projection is one more group, so that n blocks are n + 1.

    Args:
        clip: the model.
        image_blocks: null trains the whole image tower.
        text: whether the text tower is trained (OpenCLIP's image lock leaves it trainable).

    Raises:
        ConfigError: the image tower has fewer blocks, or none.
    """
    visual = clip.model.visual
    if image_blocks is not None:
        is_timm = hasattr(visual, "trunk")
        vit = visual.trunk if is_timm else getattr(visual, "transformer", None)
        blocks = getattr(vit, "blocks" if is_timm else "resblocks", ())
        if not 1 <= image_blocks <= len(blocks):
            raise ConfigError(
                f"the image tower has {len(blocks)} transformer blocks, cannot train the last {image_blocks}"
            )
        visual.lock(unlocked_groups=image_blocks + (0 if is_timm else 1))
    if not text:
        for parameter in clip.model.text.parameters():
            parameter.requires_grad = False


def to_files(clip: Clip) -> dict[str, bytes]:
    """Return the model as a folder's files, which `from_files` and open_clip's `local-dir:` read."""
    from safetensors.torch import save

    if clip.kind != "open_clip":
        from wristmir_ray.models import baselines

        return baselines.to_files(clip)
    state = {k: v.detach().cpu().contiguous() for k, v in clip.model.state_dict().items()}
    described = json.dumps(clip.architecture, indent=1, sort_keys=True).encode()
    return {WEIGHTS: save(state), OPEN_CLIP_CONFIG: described, **text_files(clip)}


def text_files(clip: Clip) -> dict[str, bytes]:
    """Return the configuration and tokenizer of a Hugging Face text tower; of any other, nothing."""
    if "hf_model_name" not in clip.architecture["model_cfg"]["text_cfg"]:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        clip.model.text.config.save_pretrained(folder)
        clip.tokenizer.hub.tokenizer.save_pretrained(folder)
        return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir())}


def from_files(files: dict[str, bytes], fixed_batch: int | None = None) -> Clip:
    """Return the model of `to_files`; ConfigError where weights and architecture do not fit."""
    if OPEN_CLIP_CONFIG not in files:
        from wristmir_ray.models import baselines

        return baselines.from_files(files, fixed_batch)
    with tempfile.TemporaryDirectory(prefix="encoder-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        clip = build(EncoderConfig(model=weights.LOCAL + folder, fixed_batch=fixed_batch))
        _ = clip.tokenizer.hub  # reads the folder, which is about to go
    return clip


@functools.cache
def _register() -> None:
    import open_clip

    open_clip.add_model_config(CONFIGS)


def _local_text_tower(model: str, text_cfg: dict[str, Any]) -> dict[str, Any]:
    """Let a Hugging Face text tower read its architecture from a folder at hand instead of the Hub.

    The Hub's snapshot of BiomedCLIP holds its tokenizer, but not its text tower's configuration, which ships
    with us.
    """
    if "hf_model_name" not in text_cfg:
        return text_cfg
    beside = [Path(model.removeprefix(weights.LOCAL))] if model.startswith(weights.LOCAL) else []
    known = [*beside, CONFIGS / Path(text_cfg["hf_model_name"]).name]
    source = [{"hf_model_name": str(folder)} for folder in known if (folder / "config.json").is_file()]
    return {**text_cfg, **(source[0] if source else {}), "hf_model_pretrained": False}  # CLIP's own weights follow


def _fit_mask(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Cut a causal mask to the texts' length, so that short texts need not be padded to the context."""
    mask, length = kwargs.get("attn_mask"), args[0].shape[1]
    if mask is not None and mask.dim() == 2 and mask.shape[0] > length:
        kwargs["attn_mask"] = mask[:length, :length]
    return args, kwargs


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's warning about random weights off the root log: `init` says what is wanted."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
