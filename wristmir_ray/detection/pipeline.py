"""EXAMS and true boxes -> samples -> two trainings side by side -> published ONNX detectors."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from wristmir_ray import keys, raydata, storage, tablerun
from wristmir_ray.detection.config import DetectionConfig, TargetConfig
from wristmir_ray.detection.dataset import SAMPLES, choose_exams
from wristmir_ray.detection.labels import read_labels
from wristmir_ray.detection.measuring import Trained
from wristmir_ray.detection.stages import prepare_samples
from wristmir_ray.detection.trainer import train_target
from wristmir_ray.errors import ConfigError, TooManyRejects
from wristmir_ray.failures import told_as_ours
from wristmir_ray.job import Summary
from wristmir_ray.models.detector import BONE_DETECTOR, MODEL_FILE, ROI_DETECTOR, SPEC_FILE
from wristmir_ray.schemas import EXAMS
from wristmir_ray.tables import conform

JOB = "train_detector"


def run(config: DetectionConfig) -> Summary:
    """Train what is not yet published and publish it as `roi_detector` and `bone_detector`.

    Raises:
        NotPublished: EXAMS are missing. ConfigError: the boxes do not fit, or `root` cannot be written.
        TooManyRejects: too many of the exams cannot be read; nothing is trained.
    """
    started = time.monotonic()
    targets = {ROI_DETECTOR: config.roi, BONE_DETECTOR: config.bones}
    _check(config)
    runs = _runs(config, targets)
    finished = {n: storage.find_run(config.root, n, r.run_id) for n, r in runs.items()}
    wanted = [n for n, manifest in finished.items() if manifest is None]
    if wanted:
        storage.check_writable(config.root)
        raydata.connect(config.ray)
        samples = _samples(config)
        rejects = _counted(samples, config)
        good = samples.filter(pc.is_null(samples["error"]))
        trained = _train({n: targets[n] for n in wanted}, good, config)
        read = {"rows": samples.num_rows, "rejects": rejects}
        for name, result in trained.items():
            seconds = time.monotonic() - started
            _publish(config.root, runs[name].manifest(name, metrics=result.metrics, seconds=seconds, **read), result)
    for name in targets.keys() - set(wanted):
        storage.point_to(config.root, name, runs[name].run_id)
    return _summary(config, runs, skipped=not wanted)


def _counted(samples: pa.Table, config: DetectionConfig) -> dict[str, int]:
    """Return how many exams were rejected, by code; raise TooManyRejects before time is spent on the rest."""
    rejects = Counter(samples["error"].drop_null().to_pylist())
    if rejects.total() > config.max_reject_share * samples.num_rows:
        raise TooManyRejects(
            f"{rejects.total()} of {samples.num_rows} exams cannot be learned from, more than max_reject_share "
            f"{config.max_reject_share:g}: {dict(sorted(rejects.items()))}; look at their sources"
        )
    return dict(sorted(rejects.items()))


def build(exams: ray.data.Dataset, config: DetectionConfig) -> ray.data.Dataset:
    """Exams with true boxes -> SAMPLES, 1:1."""
    return exams.map_batches(prepare_samples, fn_kwargs={"config": config}, **raydata.tasks(config.prepare))


def _check(config: DetectionConfig) -> None:
    for name, section, target in (("roi", config.roi, "roi"), ("bones", config.bones, "bones")):
        if section.target != target:
            raise ConfigError(f"setting '{name}.target' must be {target}")


def _runs(config: DetectionConfig, targets: Mapping[str, TargetConfig]) -> dict[str, tablerun.TableRun]:
    """Return each detector's identity: the exams, the boxes, its settings and this code."""
    inputs = {
        EXAMS.name: storage.published(config.root, EXAMS.name).run_id,
        "boxes": keys.digest(*(repr(label) for label in read_labels(config.boxes, config.classes))),
    }
    shared = config.model_dump(mode="json", include={"seed", "train_images", "val_images", "decode", "iou_threshold"})
    cut = config.model_dump(mode="json", include={"enhance", "roi_margin", "roi_jitter"})
    own = {"roi": {"empty_share": config.empty_share, "pair_share": config.pair_share}, "bones": cut}
    code = keys.code_version("detection", "imaging", "models/detector", "models/letterbox", "models/networks")
    out = {}
    for name, target in targets.items():
        settings = {**shared, "target": target.model_dump(mode="json"), **own[target.target]}
        models = {"weights": _file_digest(target.weights, "weights")} if target.weights else {}
        out[name] = tablerun.TableRun(JOB, config, settings, code, inputs, models)
    return out


def _file_digest(uri: str, setting: str) -> str:
    try:
        return keys.digest(storage.read_bytes(uri))
    except OSError:
        raise ConfigError(f"cannot read {uri}; setting '{setting}' must name a file") from None


def _samples(config: DetectionConfig) -> pa.Table:
    exams = choose_exams(config)
    size = config.prepare.batch_size
    blocks = [exams.slice(i, size) for i in range(0, exams.num_rows, size)]
    with told_as_ours():
        prepared = build(ray.data.from_arrow(blocks), config).materialize()
    whole = pa.concat_tables(ray.get(prepared.to_arrow_refs()))
    return conform({n: whole[n] for n in whole.column_names}, SAMPLES)


def _train(targets: Mapping[str, TargetConfig], samples: pa.Table, config: DetectionConfig) -> dict[str, Trained]:
    """Train side by side, each in a fresh process: two with one thread beat one with two."""
    pool = config.train
    placed = {"label_selector": pool.label_selector} if pool.label_selector else {}
    task = ray.remote(max_calls=1, num_cpus=pool.num_cpus, num_gpus=pool.num_gpus, **placed)(train_target)
    shared = ray.put(samples)
    threads, gpu = max(1, int(pool.num_cpus)), pool.num_gpus > 0
    running = {
        name: task.remote(shared, target, config.seed, config.iou_threshold, threads, gpu)
        for name, target in targets.items()
    }
    with told_as_ours():
        return dict(zip(running, ray.get(list(running.values())), strict=True))


def _publish(root: str, manifest: storage.Manifest, trained: Trained) -> None:
    folder = storage.run_uri(root, manifest.name, manifest.run_id)
    storage.write_bytes(storage.join(folder, MODEL_FILE), trained.model)
    storage.write_bytes(storage.join(folder, SPEC_FILE), trained.spec.to_json().encode())
    for name, content in trained.pages.items():
        storage.write_bytes(storage.join(folder, name), content)
    manifest.files.extend([MODEL_FILE, SPEC_FILE, *trained.pages])
    manifest.metrics["digest"] = trained.spec.digest
    storage.publish(root, manifest)


def _summary(config: DetectionConfig, runs: Mapping[str, tablerun.TableRun], skipped: bool) -> Summary:
    facts: dict[str, Any] = {}
    for prefix, name in (("roi", ROI_DETECTOR), ("bone", BONE_DETECTOR)):
        manifest = storage.published(config.root, name, runs[name].run_id)
        metrics = manifest.metrics
        overall = metrics["regions"]["overall"]
        facts |= {f"{prefix}_{n}": round(overall[n], 4) for n in ("map50", "precision", "recall", "f1")}
        facts |= {f"{prefix}_epochs": int(metrics["trainer"]["epochs"]), f"{prefix}_cpu_s": metrics["cpu_s"]}
    return Summary(
        job=JOB,
        runs={n: r.run_id for n, r in runs.items()},
        rows=manifest.rows,
        rejects=manifest.rejects,
        skipped=skipped,
        max_reject_share=config.max_reject_share,
        facts=facts,
    )
