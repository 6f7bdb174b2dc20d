"""The back ends of a trained detector against PyTorch in eager mode, on one core, on the demo's phantoms.

Each runs the same network on the same letterboxed images, one at a time: what a call of the network
takes. The peer is the trainer's own module with the trained weights, batch normalisation folded in as
the trainer's `predict` does it, in inference mode; that it is the same network is checked by its output.
`ratio` is the default back end's, of the bones' detector, the larger one. Five rounds, all in turn; medians.

`map50` is over the validation images, with each back end's boxes read in the same way; `map50_apart` is
the largest difference of the default to the peer over both detectors.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.trained import JOBS, detectors

ROUNDS, TIMED = 5, 40
VAL_IMAGES = 80
Run = Callable[[np.ndarray], np.ndarray]


def measure() -> dict[str, Any]:
    """Return calls a second of the default back end and of eager PyTorch, and all others' beside them."""

    with tempfile.TemporaryDirectory() as folder:
        demo = detectors(folder)
        both = {target: _compare(demo, target) for target in ("roi", "bones")}
    ms, apart = both["bones"]["ms"], [b["map50"]["default"] - b["map50"]["eager"] for b in both.values()]
    return {
        "ours": round(1000 / ms["default"], 1),
        "peer": round(1000 / ms["eager"], 1),
        "ratio": round(ms["eager"] / ms["default"], 3),
        "map50_apart": max(abs(a) for a in apart),
        "unit": "images/s a core",
        "detectors": both,
    }


def _compare(demo: Any, target: Any) -> dict[str, Any]:
    """Return milliseconds and mAP50 of one detector on every back end."""
    from wristmir_ray.anatomy import Split
    from wristmir_ray.config import load_config
    from wristmir_ray.detection.config import DetectionConfig
    from wristmir_ray.detection.dataset import choose_exams, images_and_truth
    from wristmir_ray.detection.stages import prepare_samples
    from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR
    from wristmir_ray.models.letterbox import letterbox, network_input

    argv = ["--root", demo.archive, "--boxes", f"{demo.phantoms}/boxes.parquet", "--val_images", str(VAL_IMAGES)]
    config = load_config(DetectionConfig, argv, JOBS / "train_detector.yaml")
    images, truth = images_and_truth(prepare_samples(choose_exams(config), config=config), target, Split.VAL)
    model, spec = _published(demo.archive, ROI_DETECTOR if target == "roi" else BONE_DETECTOR)
    runs = _back_ends(model, spec)
    squares = [network_input(letterbox(image, spec.image_size)[0][None]) for image in images[:TIMED]]
    assert np.abs(runs["eager"](squares[0]) - runs["onnxruntime"](squares[0])).max() < 1e-2, "not the same network"
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            run(squares[0])
            started = time.perf_counter()
            for square in squares:
                run(square)
            seconds[name].append((time.perf_counter() - started) / len(squares))
    return {
        "image_size": spec.image_size,
        "ms": {name: round(1000 * statistics.median(s), 2) for name, s in seconds.items()},
        "map50": {name: round(_map50(run, spec, images, truth), 4) for name, run in runs.items()},
        "images": len(images),
    }


def _published(root: str, name: str, run: str | None = None) -> tuple[bytes, Any]:
    from wristmir_ray import storage
    from wristmir_ray.models.detector import MODEL_FILE, SPEC_FILE, DetectorSpec

    folder = storage.run_uri(root, name, storage.published(root, name, run).run_id)
    spec = DetectorSpec.from_json(storage.read_bytes(storage.join(folder, SPEC_FILE)))
    return storage.read_bytes(storage.join(folder, MODEL_FILE)), spec


def _back_ends(model: bytes, spec: Any) -> dict[str, Run]:
    from wristmir_ray.models.networks import RuntimeConfig, open_network

    settings = {
        "default": RuntimeConfig(),
        "openvino_float32": RuntimeConfig(precision="float32"),
        "onnxruntime": RuntimeConfig(backend="onnxruntime", precision="float32"),
    }
    ours = {name: open_network(model, spec.image_size, runtime) for name, runtime in settings.items()}
    return {**ours, "eager": _eager(model, len(spec.classes))}


def _eager(model: bytes, classes: int) -> Run:
    """Return the trainer's module as a function, on one thread."""
    import torch

    torch.set_num_threads(1)
    module = trainers_module(model, classes)

    def run(squares: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = module(torch.from_numpy(squares))
        return (output[0] if isinstance(output, (tuple, list)) else output).numpy()

    return run


def trainers_module(model: bytes, classes: int) -> Any:
    """Return the trainer's module with the network's weights."""
    import onnx
    import torch
    from onnx import numpy_helper
    from ultralytics.nn.tasks import DetectionModel

    weights = {
        i.name: torch.from_numpy(numpy_helper.to_array(i).copy())
        for i in onnx.load_from_string(model).graph.initializer
    }
    module = DetectionModel("yolo11n.yaml", ch=3, nc=classes, verbose=False).eval().fuse(verbose=False)
    module.load_state_dict(weights, strict=False)
    return module


def _map50(run: Run, spec: Any, images: list[np.ndarray], truth: list[Any]) -> float:
    """Return mAP50 of the boxes that a back end's output is read as."""
    from dataclasses import replace

    from wristmir_ray.detection.metrics import score
    from wristmir_ray.models.detector import read_output
    from wristmir_ray.models.letterbox import corners, letterbox, network_input

    low = replace(spec, score_thresholds=(0.001,) * len(spec.classes))
    found = []
    for image in images:
        square, place = letterbox(image, spec.image_size)
        output = run(network_input(square[None]))[0]
        boxes = place.to_source(corners(output[:4].T.astype(np.float64)))
        found.append(read_output(boxes, output[4:], low, *image.shape))
    return float(score(found, truth, spec.classes)["overall"]["map50"])
