"""A drawn archive of crops and captions: bones with or without a dark line."""

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from wristmir_ray import keys, schemas, storage
from wristmir_ray.anatomy import Region, Split
from wristmir_ray.tables import conform
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.learner import Learner
from wristmir_ray.training.pairs import Pairs

COLUMNS = ("exam_id", "region", "split")


def split_of(exam: int) -> str:
    """Six in ten train, two validate, two test."""
    return (Split.TRAIN, Split.VAL, Split.TEST)[(0, 0, 0, 0, 0, 0, 1, 1, 2, 2)[exam % 10]].value


def crop(rng: np.random.Generator, fractured: bool, left: bool, side_px: int) -> np.ndarray:
    """uint8 (S, S): a bright shaft in noise, crossed by a dark line when fractured, a marker when left."""
    gray = rng.normal(90, 10, (side_px, side_px)).astype(np.float32)
    gray[:, side_px // 3 : 2 * side_px // 3] += 80
    if left:
        gray[: side_px // 8, : side_px // 8] = 250
    if fractured:
        y = int(rng.integers(side_px // 3, 2 * side_px // 3))
        cv2.line(gray, (side_px // 3, y), (2 * side_px // 3, y + 3), 40, max(1, side_px // 24))
    return np.clip(gray, 0, 255).astype(np.uint8)


def rows(exams: int, seed: int = 0, side_px: int = 48) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return rows of CROPS and of CAPTIONS."""
    rng = np.random.default_rng(seed)
    crops, captions = [], []
    for exam in range(exams):
        left = bool(rng.random() < 0.5)
        for region in Region:
            key = {"exam_id": keys.digest("toy", str(exam)), "region": region.value, "split": split_of(exam)}
            fractured = region is not Region.WRIST and bool(rng.random() < 0.5)
            gray = crop(rng, fractured, left, side_px)
            png = bytes(cv2.imencode(".png", gray)[1])
            crops.append({**key, "png": png, "rows": side_px, "cols": side_px})
            shown = "fracture" if fractured else "no fracture"
            text = f"{region.words.capitalize()} region showing {shown}."
            if region is Region.WRIST:
                text = f"{'Left' if left else 'Right'} wrist X-ray (PA view)."
            presence = "present" if fractured else None
            captions.append({**key, "caption": text, "caption_id": keys.caption_id(text), "presence": presence})
    return crops, captions


def publish(root: Path, exams: int, corrupt: int = 0) -> None:
    """Publish CROPS and CAPTIONS below `root`; the first `corrupt` crops are no PNG."""
    crops, captions = rows(exams)
    for row in crops[:corrupt]:
        row["png"] = b"not a picture"
    for table, content in ((schemas.CROPS, crops), (schemas.CAPTIONS, captions)):
        sorted_rows = conform(content, table).sort_by([(k, "ascending") for k in table.key])
        uri = storage.run_uri(str(root), table.name, "toy")
        storage.write_parquet(sorted_rows, storage.join(uri, "rows.parquet"), table.row_group_size)
        manifest = storage.Manifest(
            table.name, "toy", "toy", rows=len(content), schema=table.fingerprint, files=["rows.parquet"]
        )
        storage.publish(str(root), manifest)


def crops_table(exams: int) -> pa.Table:
    """Return CROPS' columns that training reads."""
    return conform(rows(exams)[0], schemas.CROPS).select(["exam_id", "region", "png", "split"])


def pairs(exams: int, split: Split, folder: Path, side_px: int = 36) -> Pairs:
    """Return one split's pairs, decoded into `folder`."""
    from wristmir_ray.training.pairs import open_pairs
    from wristmir_ray.training.stages import store_pixels

    receipt = store_pixels(crops_table(exams), side_px=side_px, folder=str(folder))
    captions = conform(rows(exams)[1], schemas.CAPTIONS)
    return open_pairs([str(folder / receipt["file"][0].as_py())], captions, split, tuple(Region))


WORDS = "left right wrist x - ray ( pa view ) distal radius ulna ulnar styloid region showing no fracture ."


def transformers(folder: Path, dropout: float = 0.1, drop: float = 0.0) -> str:
    """Write BiomedCLIP's shape, shrunken, and return the name that loads it: no layer normalises over the batch.

    A timm ViT of six blocks whose head drops the share `drop`, and a BERT with a vocabulary of toy captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bert = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    bert |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    (folder / "config.json").write_text(json.dumps({**bert, "model_type": "bert", "vocab_size": 32}))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    text = {"hf_model_name": "bert", "hf_tokenizer_name": "bert", "hf_proj_type": "mlp", "context_length": 48}
    model = {
        "embed_dim": 16,
        "vision_cfg": {**vision, "image_size": 160, "timm_drop": drop},
        "text_cfg": {**text, "hf_pooler_type": "cls_last_hidden_state_pooler"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    return f"local-dir:{folder}"


def learner(folder: Path, exams: int = 40, rank: int = 0, world: int = 1, **changes: object) -> Learner:
    """Return a learner on drawn exams: with 40 and the small CNN at 32 px, 96 training pairs, 3 steps an epoch.

    With several ranks, its gradients are averaged over torch's process group.
    """
    import torch

    from wristmir_ray.models.clip import build, lock

    settings = {
        "encoder": {"init": "random", "image_size": 32, "fixed_batch": 8},
        "batch_size": 32,
        "steps": 10,
        "optim": {"lr": 5e-5, "warmup_steps": 2},
        "trainable": {"image_blocks": None},
        "workers": {"num_workers": 1, "use_gpu": False},
        **changes,
    }
    config = TrainClipConfig(**settings)  # type: ignore[arg-type]
    torch.set_num_threads(1)  # sums in another order are other sums
    torch.manual_seed(0)
    clip = build(config.encoder)
    lock(clip, config.trainable.image_blocks, config.trainable.text)
    train, val = (pairs(exams, split, folder) for split in (Split.TRAIN, Split.VAL))
    if world == 1:
        return Learner(config, clip, train, val)
    return Learner(config, clip, train, val, torch.nn.parallel.DistributedDataParallel, rank, world)


def losses(trained: Learner) -> list[float]:
    """Train to the end and return the loss of each step."""
    return [row["loss"] for epoch in range(trained.next_epoch, trained.epochs) for row in trained.train_epoch(epoch)]
