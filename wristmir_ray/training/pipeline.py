"""Training, wired: crops -> decoded pixels -> Ray Train -> published encoder."""

import json
import logging
import time
from dataclasses import replace

import pyarrow as pa

from wristmir_ray import keys, raydata, storage
from wristmir_ray.anatomy import Split
from wristmir_ray.errors import ConfigError, ErrorCode
from wristmir_ray.failures import told_as_ours
from wristmir_ray.held import held
from wristmir_ray.job import Summary
from wristmir_ray.models import clip as clips
from wristmir_ray.models import encoder
from wristmir_ray.models.clip import Clip
from wristmir_ray.models.start import starting_digest, starts_from_files
from wristmir_ray.schemas import CAPTIONS, CROPS
from wristmir_ray.training import artifacts, events
from wristmir_ray.training.artifacts import Origin
from wristmir_ray.training.checks import check_pairs, check_rejects, named
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.pairs import COLUMNS, Pairs, open_pairs
from wristmir_ray.training.schedule import num_steps
from wristmir_ray.training.sharing import begin, check_elastic, check_exact
from wristmir_ray.training.stages import store_pixels

log = logging.getLogger(__name__)

JOB = "train_clip"
_SHARDS = "decoded.json"


def run(config: TrainClipConfig) -> Summary:
    """Train the encoder and publish it; a run that was published before is pointed to again.

    Raises:
        NotPublished: no crops or captions. ConfigError: too few pairs or captions, missing weights, no room for
        the ranks, a checkpoint that cannot be continued. TooManyRejects: too many crops are corrupt.
        WristmirError: training failed.
    """
    started = time.monotonic()
    inputs = {t.name: storage.published(config.root, t.name).run_id for t in (CROPS, CAPTIONS)}
    code = keys.code_version("training", "models", "imaging", "metrics")
    clip = _build(config) if starts_from_files(config.encoder) else None  # weights that are missing are missed here
    start = starting_digest(clip, config.encoder) if clip else ""
    run_id = keys.run_id(JOB, config.settings(start), inputs, code)
    done = storage.find_run(config.root, encoder.NAME, run_id)
    if done:
        storage.point_to(config.root, encoder.NAME, run_id)
        return _summary(config, done, skipped=True)
    storage.check_writable(config.root)
    from wristmir_ray.training.trainer import check_placeable  # imports Ray Train: 2 s a skipped run is spared

    raydata.connect(config.ray)
    check_placeable(config.workers)
    manifest = _train(config, clip or _build(config), Origin(run_id, code, inputs, start))
    return _summary(config, storage.publish(config.root, replace(manifest, seconds=time.monotonic() - started)))


def _build(config: TrainClipConfig) -> Clip:
    """Return the model as the ranks will start from it, all of it still trainable."""
    import torch

    torch.manual_seed(config.seed)
    return clips.build(config.encoder)


def _train(config: TrainClipConfig, clip: Clip, origin: Origin) -> storage.Manifest:
    """Check model and data, train, store what the run leaves; return the manifest that publishes it."""
    from wristmir_ray.training.trainer import fit

    clips.lock(clip, config.trainable.image_blocks, config.trainable.text)
    check_exact(clip.model, config.batch_size // config.workers.num_workers, config.step)
    check_elastic(clip.model, config.workers)
    side_px, captions = round(clip.image_size * config.pixel_margin), origin.inputs[CAPTIONS.name]
    pixels = pixel_folder(origin.inputs[CROPS.name], side_px)
    work = storage.join(config.root, "_work", JOB)
    own = storage.join(work, origin.run_id)
    with held(config.root, origin.run_id, origin.inputs, [f"{JOB}/{origin.run_id}", f"pixels/{pixels}"]):
        files, rejected, rows = decode(config, origin.inputs[CROPS.name], side_px)
        check_rejects(config, rejected, rows)
        train, val = pairs_of(config, captions, files)
        check_pairs(config, train, val)
        begin(clip.model, config.workers, own)
        _say(config, len(train), own)
        trained = fit(config, origin, work, files)
        clip.model.load_state_dict(trained.state)
        facts = artifacts.Facts(origin, train, val, rejected)
        names, metrics = artifacts.store(config, clip, trained, facts, own)
    return storage.Manifest(
        name=encoder.NAME,
        run_id=origin.run_id,
        job=JOB,
        rows=len(train) + len(val) + len(rejected),
        rejects={ErrorCode.CORRUPT_IMAGE.value: len(rejected)} if rejected else {},
        files=names,
        inputs=origin.inputs,
        code=origin.code,
        config=config.resolved(),
        metrics=metrics,
    )


def _say(config: TrainClipConfig, pairs: int, own: str) -> None:
    """Log what begins, and where it can be watched: an hour may pass before the next line."""
    steps, _ = num_steps(pairs, config.batch_size, config.epochs, config.steps)
    where = {"run": own.rsplit("/", 1)[-1], "tensorboard": storage.join(own, events.FOLDER)}
    fields = {"job": JOB, **where, "ranks": config.workers.num_workers, "pairs": pairs, "steps": steps}
    log.info("training", extra={"fields": fields})


def pixel_folder(crops: str, side_px: int) -> str:
    """Return the name, below `_work/pixels`, of the decoded pixels of a run of CROPS."""
    return f"{crops}-{side_px}px-{keys.code_version('training/stages', 'imaging/crop', 'models/encoder')[:8]}"


def decode(config: TrainClipConfig, crops: str, side_px: int) -> tuple[list[str], list[str], int]:
    """Decode the crops of training and validation patients once, for this and every later run.

    Returns:
        Addresses of the pixel files, keys of the crops that cannot be decoded, and crops in all.
    """
    folder = storage.join(config.root, "_work", "pixels", pixel_folder(crops, side_px))
    index = storage.join(folder, _SHARDS)
    if not storage.exists(index):
        stored_rows = raydata.read(config.root, CROPS, crops, ["exam_id", "region", "png", "split"]).map_batches(
            store_pixels,
            fn_kwargs={"side_px": side_px, "folder": folder},
            batch_format="pyarrow",
            batch_size=config.decode_batch,
        )
        with told_as_ours():
            receipts = stored_rows.take_all()
        stored = {
            "files": sorted(r["file"] for r in receipts if r["file"]),
            "rejected": sorted(key for r in receipts for key in r["rejected"]),
            "rows": sum(r["rows"] + len(r["rejected"]) for r in receipts),
        }
        storage.write_bytes(index, json.dumps(stored).encode())
        log.info("decoded", extra={"fields": {"job": JOB, "rows": stored["rows"]}})
    stored = json.loads(storage.read_bytes(index))
    if stored["rejected"]:
        log.warning("corrupt crops are left out", extra={"fields": {"job": JOB, "crops": named(stored["rejected"])}})
    return [storage.join(folder, f) for f in stored["files"]], stored["rejected"], int(stored["rows"])


def pairs_of(config: TrainClipConfig, captions: str, files: list[str]) -> tuple[Pairs, Pairs]:
    """Return training and validation pairs.

    Raises:
        ConfigError: a file of decoded pixels was damaged or lost since it was written.
    """
    table = storage.read_table(config.root, CAPTIONS, captions, COLUMNS)
    try:
        train = open_pairs(files, table, Split.TRAIN, config.regions)
        return train, open_pairs(files, table, Split.VAL, config.regions, config.validation.max_pairs)
    except (pa.ArrowInvalid, FileNotFoundError):
        folder = storage.join(config.root, "_work", "pixels")
        raise ConfigError(f"decoded pixels were damaged; delete {folder} and they are decoded again") from None


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
