"""BiomedCLIP at its true size, with random weights, and captions of the phantom archive to train it on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

EXAMS = 2_000
CONFIGS = Path(__file__).parents[2] / "wristmir_ray" / "models" / "configs"


def phantom_captions(exams: int = EXAMS) -> list[str]:
    """Return the four captions of each exam: phantom reports, read by the rules, put into the paper's templates."""
    from wristmir_ray.mining.captions import captions
    from wristmir_ray.mining.rules import mine
    from wristmir_ray.phantom.population import sample_cases
    from wristmir_ray.phantom.reports import write_report

    found: list[str] = []
    for case in sample_cases(0, exams):
        report = write_report(case, "open", np.random.default_rng(case.index))
        found += [c.text for c in captions(mine(report.text), case.side.value, "pa")]
    return found


def write_model(folder: Path, captions: list[str]) -> str:
    """Write the shipped BiomedCLIP configuration with a tokenizer; return the name that loads it.

    PubMedBERT's vocabulary cannot be had offline. The tokenizer is BERT's own WordPiece, trained on these
    captions: a word is one piece, as nearly all of them are in PubMedBERT's vocabulary of medical words.
    """
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator(captions, vocab_size=30522, show_progress=False)
    tokenizer.save_model(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    model = json.loads((CONFIGS / "biomedclip.json").read_text())
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    bert = CONFIGS / Path(model["text_cfg"]["hf_model_name"]).name / "config.json"
    (folder / "config.json").write_text(bert.read_text())
    return f"local-dir:{folder}"


def pairs_of(captions: list[str], side_px: int, seed: int = 0) -> Any:
    """Return Pairs with these captions and noise as pixels, in memory."""
    from wristmir_ray.training.pairs import Pairs

    texts, caption_N = np.unique(captions, return_inverse=True)
    count = len(captions)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side_px, side_px), dtype=np.uint8)
    return Pairs(
        keys=[f"{i:032x}|wrist" for i in range(count)],
        shard=np.zeros(count, np.int32),
        row=np.arange(count),
        caption=caption_N.astype(np.int64),
        region=np.zeros(count, np.int8),
        label=np.zeros(count, np.int8),
        captions=[str(t) for t in texts],
        shards=[pixels],
    )


@dataclass(frozen=True)
class OpenClip:
    """A training step as open_clip's users run it: `open_clip_train/train.py` and `main.py`, line by line."""

    model: Any
    optimizer: Any

    @classmethod
    def of(cls, model: Any, optim: Any) -> "OpenClip":
        """Make main.py's optimiser, with AdamW's fused kernel."""
        import torch

        model.output_dict = True
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        plain = [p for n, p in named if p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n]
        rest = [p for _, p in named if not any(p is q for q in plain)]
        groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": optim.weight_decay}]
        return cls(model, torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2), fused=True))

    def step(self, images: Any, texts: Any, bf16: bool, clip_norm: float) -> float:
        """Take one step of train.py's loop; return the loss."""
        import math

        import torch
        from open_clip import ClipLoss
        from open_clip_train.precision import get_autocast

        self.model.train()
        self.optimizer.zero_grad()
        with get_autocast("amp_bf16" if bf16 else "fp32", device_type="cpu")():
            losses = ClipLoss()(**self.model(images, texts), output_dict=True)
            total = sum(losses.values())
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip_norm, norm_type=2.0)
        self.optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, math.log(100))
        return float(total.detach())
