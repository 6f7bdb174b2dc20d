"""Training, wired: crops -> decoded pixels -> Ray Train -> published encoder."""

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from wristmir_ray import keys, raydata, storage
from wristmir_ray.anatomy import Split
from wristmir_ray.errors import ConfigError
from wristmir_ray.job import Summary
from wristmir_ray.models import clip as clips
from wristmir_ray.models import encoder
from wristmir_ray.schemas import CAPTIONS, CROPS
from wristmir_ray.training import card
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import COLUMNS, Pairs, open_pairs
from wristmir_ray.training.schedule import num_steps
from wristmir_ray.training.stages import store_pixels
from wristmir_ray.training.step import check_exact

if TYPE_CHECKING:
    from wristmir_ray.training.trainer import Trained

log = logging.getLogger(__name__)

JOB = "train_clip"
_SHARDS = "shards.json"


def run(config: TrainClipConfig) -> Summary:
    """Train the encoder and publish it; a run that was published before is pointed to again.

    Raises:
        NotPublished: no crops or captions. ConfigError: too few pairs or captions, missing weights.
        WristmirError: training failed.
    """
    started = time.monotonic()
    inputs = {t.name: storage.published(config.root, t.name).run_id for t in (CROPS, CAPTIONS)}
    code = keys.code_version("training", "models", "imaging", "metrics")
    run_id = keys.run_id(JOB, config.settings(), inputs, code)
    done = storage.find_run(config.root, encoder.NAME, run_id)
    if done:
        storage.point_to(config.root, encoder.NAME, run_id)
        return _summary(config, done, skipped=True)
    storage.check_writable(config.root)
    clip = clips.build(config.encoder)  # weights that are missing are missed here, before any worker starts
    clips.lock(clip, config.trainable.image_blocks, config.trainable.text)
    check_exact(clip.model, config.batch_size // config.workers.num_workers, config.step)
    files, rejects = decode(config, inputs[CROPS.name], round(clip.image_size * config.pixel_margin))
    train, val = pairs_of(config, inputs[CAPTIONS.name], files)
    check(config, train, val)
    from wristmir_ray.training.trainer import fit  # imports Ray Train: 2 s that a skipped run is spared

    trained = fit(config, run_id, storage.join(config.root, "_work", JOB), inputs[CAPTIONS.name], files)
    clip.model.load_state_dict(trained.state)
    names, metrics = store(config, run_id, clip, trained, inputs, _counts(train, val))
    manifest = storage.Manifest(
        name=encoder.NAME,
        run_id=run_id,
        job=JOB,
        rows=len(train) + len(val) + sum(rejects.values()),
        rejects=rejects,
        files=names,
        inputs=inputs,
        code=code,
        config=config.resolved(),
        metrics=metrics,
        seconds=time.monotonic() - started,
    )
    return _summary(config, storage.publish(config.root, manifest))


def store(
    config: TrainClipConfig,
    run_id: str,
    clip: clips.Clip,
    trained: "Trained",
    inputs: dict[str, str],
    counts: dict[str, Any],
) -> tuple[list[str], dict[str, Any]]:
    """Write weights, history, curves and model card into the run folder.

    Returns:
        Their names, and the figures for the manifest: those of the published epoch.
    """
    digest, names = encoder.save_encoder(config.root, run_id, clip)
    extra = {
        "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in trained.history).encode(),
        "curves.png": card.curves(trained.history),
        "model_card.md": card.model_card(config, digest, inputs, counts, trained.best, trained.last).encode(),
    }
    for name, content in extra.items():
        storage.write_bytes(storage.join(storage.run_uri(config.root, encoder.NAME, run_id), name), content)
    figures = {k: v for k, v in trained.best.items() if k not in {"kind", "score"}}
    return sorted([*names, *extra]), {**figures, "last_epoch": trained.last["epoch"], **counts, "digest": digest}


def decode(config: TrainClipConfig, crops: str, side_px: int) -> tuple[list[str], dict[str, int]]:
    """Decode the crops of training and validation patients once, for this and every later run.

    Returns:
        Addresses of the pixel files, and rejects by code.
    """
    folder = storage.join(config.root, "_work", "pixels", f"{crops}-{side_px}px")
    index = storage.join(folder, _SHARDS)
    raydata.connect(config.ray)
    if not storage.exists(index):
        receipts = (
            raydata.read(config.root, CROPS, crops, ["exam_id", "region", "png", "split"])
            .map_batches(
                store_pixels,
                fn_kwargs={"side_px": side_px, "folder": folder},
                batch_format="pyarrow",
                batch_size=config.decode_batch,
            )
            .take_all()
        )
        stored = {
            "files": sorted(r["file"] for r in receipts if r["file"]),
            "corrupt_image": sum(r["rejects"] for r in receipts),
        }
        storage.write_bytes(index, json.dumps(stored).encode())
        log.info("decoded", extra={"fields": {"job": JOB, "rows": sum(r["rows"] for r in receipts)}})
    stored = json.loads(storage.read_bytes(index))
    bad = int(stored["corrupt_image"])
    return [storage.join(folder, f) for f in stored["files"]], {"corrupt_image": bad} if bad else {}


def pairs_of(config: TrainClipConfig, captions: str, files: list[str]) -> tuple[Pairs, Pairs]:
    """Return training and validation pairs."""
    table = storage.read_table(config.root, CAPTIONS, captions, COLUMNS)
    train = open_pairs(files, table, Split.TRAIN, config.regions)
    return train, open_pairs(files, table, Split.VAL, config.regions, config.validation.max_pairs)


def check(config: TrainClipConfig, train: Pairs, val: Pairs) -> None:
    """Raise ConfigError, before any worker starts, for data that cannot train."""
    ranks = config.workers.num_workers
    if len(train.captions) < max(2, ranks):
        raise ConfigError(
            f"{len(train.captions)} distinct training captions are too few for {ranks} ranks; "
            "at least two and one a rank are needed: mine more reports or use fewer workers"
        )
    if len(train) < config.batch_size:
        raise ConfigError(f"{len(train)} training pairs do not fill a batch of {config.batch_size}; lower batch_size")
    if len(val) < 2:
        raise ConfigError(f"{len(val)} validation pairs cannot choose an epoch; raise the val share of ingest")
    total, _ = num_steps(len(train), config.batch_size, config.epochs, config.steps)
    if total <= config.optim.warmup_steps:
        raise ConfigError(f"{total} steps do not outlast optim.warmup_steps {config.optim.warmup_steps}")


def _counts(train: Pairs, val: Pairs) -> dict[str, Any]:
    return {
        "train_pairs": len(train),
        "train_captions": len(train.captions),
        "val_pairs": len(val),
        "val_captions": len(val.captions),
    }


def _summary(config: TrainClipConfig, manifest: storage.Manifest, skipped: bool = False) -> Summary:
    return Summary(
        job=JOB,
        runs={encoder.NAME: manifest.run_id},
        rows=manifest.rows,
        rejects=manifest.rejects,
        skipped=skipped,
        max_reject_share=config.max_reject_share,
        facts=manifest.metrics,
    )
