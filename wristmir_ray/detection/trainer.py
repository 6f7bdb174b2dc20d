"""Trains one detector with Ultralytics, offline, and hands back an ONNX network.

Ultralytics is AGPL-3.0 and reads checkpoints by pickle: it is used here, in a process of its own,
and nowhere at run time.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray.anatomy import Split
from wristmir_ray.detection.config import TargetConfig
from wristmir_ray.detection.dataset import CLASSES, images_and_truth, write_yolo
from wristmir_ray.detection.measuring import Trained, measured
from wristmir_ray.detection.metrics import best_of_each
from wristmir_ray.models.detector import DetectorSpec, OnnxDetector
from wristmir_ray.models.networks import EXACT

AGREEMENT_IMAGES, AGREEMENT_SCORE = 16, 0.05
"""Validation images on which both paths are compared, and from which score on."""

LOWEST_SCORE = 0.001
"""From here on detections count for AP50, as in the trainer's own validation."""

_FIGURES = {
    "map50": "metrics/mAP50(B)",
    "map50_95": "metrics/mAP50-95(B)",
    "precision": "metrics/precision(B)",
    "recall": "metrics/recall(B)",
}

_QUIET: dict[str, Any] = {"workers": 0, "cache": "ram", "plots": False, "verbose": False}
"""No process beside this one, no file but the checkpoints, no word."""

_LOGGERS = ("sync", "raytune", "mlflow", "comet", "clearml", "dvc", "tensorboard", "wandb", "neptune", "hub")


def train_target(
    samples: pa.Table, config: TargetConfig, seed: int, iou_threshold: float, threads: int, gpu: bool
) -> Trained:
    """Train one detector and measure it through the run-time path on the validation images.

    Call it in a process of its own: the trainer reads its environment at import and sets the number
    of threads of the whole process. Nothing is fetched; everything it writes goes to a temporary
    folder.

    Args:
        samples: SAMPLES without rejects, splits train and val.
        config: architecture, size, schedule.
        seed: of weights and augmentation.
        iou_threshold: of suppression.
        threads: of torch.
        gpu: train on the first visible GPU.
    """
    with tempfile.TemporaryDirectory(prefix="wristmir-detector-") as folder:
        work = Path(folder)
        _go_offline(work)
        data = write_yolo(samples, config.target, work / "data")
        best, figures = _fit(data, config, work, seed, threads, gpu)
        model = _export(best, config.image_size)
        classes = CLASSES[config.target]
        spec = DetectorSpec(classes, config.image_size, (LOWEST_SCORE,) * len(classes), iou_threshold)
        images, truth = images_and_truth(samples, config.target, Split.VAL)
        detector = OnnxDetector(model, spec, EXACT.model_copy(update={"threads": threads}))
        agreement = agree(detector, best, images[:AGREEMENT_IMAGES])
    learned = {"trainer": figures, "train_images": len(images_and_truth(samples, config.target, Split.TRAIN)[0])}
    return measured(model, detector, images, truth, {"agreement": agreement, **learned})


def agree(detector: OnnxDetector, checkpoint: Path, images: Sequence[np.ndarray]) -> dict[str, float]:
    """Return how far the run-time path is from the trainer's own predictions.

    Of each image and class the trainer's best box is compared with ours, where one of them scores at
    least AGREEMENT_SCORE: `score` and `edge_px` are the largest differences, infinite where one path
    finds a box that the other does not.

    Args:
        detector: the run-time path, with thresholds near zero.
        checkpoint: of the trainer.
        images: uint8 (H, W), no longer than the network's side: both paths pad them, neither resizes.
    """
    from ultralytics import YOLO

    spec = detector.spec
    colour = [np.repeat(image[:, :, None], 3, axis=2) for image in images]
    settings = {"imgsz": spec.image_size, "conf": LOWEST_SCORE, "iou": spec.iou_threshold, "rect": False}
    theirs = [YOLO(checkpoint).predict(c, device="cpu", verbose=False, max_det=300, **settings)[0] for c in colour]
    apart = {"score": 0.0, "edge_px": 0.0}
    for ours, result in zip(best_of_each(detector.detect(images)), theirs, strict=True):
        mine = {d.region: (d.score, d.box.x0_px, d.box.y0_px, d.box.x1_px, d.box.y1_px) for d in ours}
        boxes = np.asarray(result.boxes.data.cpu(), float)  # x0, y0, x1, y1, score, class; best score first
        for i, region in enumerate(spec.classes):
            of_class = boxes[boxes[:, 5] == i]
            if max([*of_class[:, 4], mine.get(region, (0.0,))[0]]) < AGREEMENT_SCORE:
                continue
            if len(of_class) == 0 or region not in mine:
                return {"score": float("inf"), "edge_px": float("inf"), "images": float(len(images))}
            x0, y0, x1, y1, score_, _ = of_class[np.argmax(of_class[:, 4])]
            apart["score"] = max(apart["score"], abs(score_ - mine[region][0]))
            edges = np.abs(np.subtract((x0, y0, x1, y1), mine[region][1:])).max()
            apart["edge_px"] = max(apart["edge_px"], float(edges))
    return {**apart, "images": float(len(images))}


def _go_offline(work: Path) -> None:
    """Keep the trainer from hosts and from the user's home; must run before it is imported."""
    os.environ.update(
        YOLO_OFFLINE="1",
        YOLO_AUTOINSTALL="0",
        YOLO_VERBOSE="False",
        YOLO_CONFIG_DIR=str(work),
        MPLCONFIGDIR=str(work / "matplotlib"),
        TORCHINDUCTOR_CACHE_DIR=str(work / "inductor"),
    )
    os.environ.pop("ULTRALYTICS_API_KEY", None)
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (work / "Ultralytics").mkdir()
    shutil.copy(font, work / "Ultralytics" / "Arial.ttf")  # without it the trainer asks a host for one
    from ultralytics import settings

    settings.update({name: False for name in _LOGGERS if name in settings})


def _fit(
    data: Path, config: TargetConfig, work: Path, seed: int, threads: int, gpu: bool
) -> tuple[Path, dict[str, Any]]:
    """Run the epochs; return a checkpoint and the trainer's own figures of its epoch, with mAP50 by epoch.

    The checkpoint is the one that passed the gate, and where none did, the best by the trainer's fitness.
    """
    from ultralytics import YOLO
    from ultralytics.models.yolo.detect import DetectionTrainer
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = threads  # what it hands to torch.set_num_threads

    class Trainer(DetectionTrainer):  # type: ignore[misc]
        def final_eval(self) -> None:
            """Leave the last validation out: the run-time path measures the result."""

    history: list[dict[str, float]] = []

    def stop_when_good(trainer: Any) -> None:
        history.append({name: float(trainer.metrics[key]) for name, key in _FIGURES.items()})
        trainer.stop = trainer.stop or _passes(history[-1], config)

    yolo = YOLO(config.weights or config.model, task="detect")
    yolo.add_callback("on_fit_epoch_end", stop_when_good)
    where = {"data": str(data), "project": str(work / "runs"), "device": "0" if gpu else "cpu"}
    chance = {"seed": seed, "deterministic": gpu}  # one CPU thread is deterministic by itself
    yolo.train(trainer=Trainer, **where, **chance, **_schedule(config), **_variety(config), **_QUIET)
    passed = _passes(history[-1], config)
    checkpoint = yolo.trainer.last if passed else yolo.trainer.best
    chosen = history[-1] if passed else max(history, key=lambda m: m["map50_95"])
    curve = [round(m["map50"], 4) for m in history]
    return Path(checkpoint), {**chosen, "epochs": len(history), "map50_by_epoch": curve}


def _schedule(config: TargetConfig) -> dict[str, Any]:
    """Return the trainer's settings of what is learned from, how long and how fast."""
    return {
        "imgsz": config.image_size,
        "epochs": config.epochs,
        "batch": config.batch,
        "nbs": config.batch,  # the default of 64 accumulates gradients and starves a small set of steps
        "optimizer": "AdamW",
        "lr0": config.learning_rate,
        "warmup_epochs": 1,
        "pretrained": config.weights is not None,
        "amp": False,
    }


def _variety(config: TargetConfig) -> dict[str, float]:
    """Return the trainer's settings of how images are changed at random."""
    return {
        "mosaic": 0.0,  # a radiograph shows one wrist
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": config.brightness,
        "degrees": config.degrees,
        "translate": config.translate,
        "scale": config.scale,
        "fliplr": config.flip,
        "erasing": 0.0,
    }


def _passes(figures: dict[str, float], config: TargetConfig) -> bool:
    return figures["map50"] >= config.stop_map50 and figures["map50_95"] >= config.stop_map50_95


def _export(checkpoint: Path, image_size: int) -> bytes:
    """Return the checkpoint as ONNX: float32 (B, 3, H, W) in, (B, 4 + classes, N) out.

    Back ends fix the sizes when they open it, which costs nothing: 224 px takes as long as exported at 224 px.
    """
    from ultralytics import YOLO

    exported = YOLO(checkpoint).export(format="onnx", imgsz=image_size, simplify=False, dynamic=True, device="cpu")
    return Path(exported).read_bytes()
