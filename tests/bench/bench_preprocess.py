"""Ray Data preprocess (read, decode, detect, crop, sort, publish) against a bare multi-process loop.

The peer calls the very same functions on the same exams with one process a core: no Ray, no
Parquet, results thrown away. Both start their workers, import and load the detectors inside the
measured time; only starting Ray itself and the actors that Ray Data keeps beside all data sets
(statistics, autoscaling), which a cluster does once, is measured for neither. Both
pay their start once a run, whatever the size of the archive: with 8,000 images it weighs a per
cent or two. The images are 2,000 phantoms, each named by four exams. Three rounds, the two in
turn; the median of the rounds' ratios is the result.

`step_ms` is what an image costs in one process, step by step, by the profile of the peer's loop.
"""

import cProfile
import multiprocessing
import os
import pstats
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.trained import JOBS, detectors, name_images

EXAMS = int(os.environ.get("BENCH_EXAMS", "8000"))
PHANTOMS = max(1, EXAMS // 4)
ROUNDS = 3
Image = tuple[str, str]
"""Address, and hash of the pixels."""
PROFILED = 300
STEPS_OF = {
    "objects.py": ("read_bytes",),
    "decode.py": ("decode",),
    "letterbox.py": ("letterbox", "network_input"),
    "networks.py": ("run_padded",),
    "detector.py": ("read_output", "load_detector"),
    "enhance.py": ("enhance",),
    "choice.py": ("choose_bones",),
    "regions.py": ("_square",),
    "crop.py": ("encode_png",),
    "bench_preprocess.py": ("_loop",),
}
"""Where the steps are, by file: none calls another."""


def measure() -> dict[str, Any]:
    """Return images a second of both, and their ratio."""
    import ray.data

    from wristmir_ray import raydata
    from wristmir_ray.config import load_config
    from wristmir_ray.preprocess.config import PreprocessConfig

    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        demo = detectors(folder, PHANTOMS)
        root = f"{folder}/many"
        images = name_images(demo, root, EXAMS)
        argv = ["--root", root, "--detectors", demo.archive, "--detect.workers", str(cores)]
        config = load_config(PreprocessConfig, argv, JOBS / "preprocess.yaml")
        raydata.connect(config.ray)
        ray.data.range(1).materialize()
        seconds = [(_ours(config), _peer(cores, images, config)) for _ in range(ROUNDS)]
        steps = _steps(images[:PROFILED], config)
    ours, peer = (len(images) / statistics.median(s) for s in zip(*seconds, strict=True))
    return {
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": round(statistics.median(p / o for o, p in seconds), 3),
        "ratios": [round(p / o, 3) for o, p in seconds],
        "unit": "images/s",
        "images": len(images),
        "step_ms": steps,
    }


def _steps(images: list[Image], config: Any) -> dict[str, float]:
    """Return milliseconds an image of each step; `other` is what is in none of them, without loading the detectors."""
    profile = cProfile.Profile()
    profile.runcall(_loop, images, config)
    found: dict[str, float] = {}
    for (file, _, function), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        if function in STEPS_OF.get(Path(file).name, ()):
            found[function] = round(1000 * cumulative / len(images), 2)
    own = {"load_detector", "_loop"}
    whole = found["_loop"] - found["load_detector"]
    steps = {name: ms for name, ms in found.items() if name not in own}
    return {**steps, "other": round(whole - sum(steps.values()), 2), "whole": round(whole, 2)}


def _ours(config: Any) -> float:
    from wristmir_ray.preprocess.pipeline import run

    for name in ("regions", "crops", "_work"):
        shutil.rmtree(Path(config.root) / name, ignore_errors=True)
    started = time.perf_counter()
    summary = run(config)
    seconds = time.perf_counter() - started
    assert not summary.skipped
    return seconds


def _peer(cores: int, images: list[Image], config: Any) -> float:
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        done = pool.starmap(_loop, [(images[i::cores], config) for i in range(cores)], chunksize=1)
    seconds = time.perf_counter() - started
    assert sum(done) == len(images)
    return seconds


def _loop(images: list[Image], config: Any) -> int:
    import cv2

    from wristmir_ray import storage
    from wristmir_ray.imaging.crop import encode_png
    from wristmir_ray.imaging.decode import decode
    from wristmir_ray.models.detector import BONE_DETECTOR, ROI_DETECTOR, load_detector
    from wristmir_ray.preprocess.regions import extract_regions

    cv2.setNumThreads(1)
    roi, bones = (load_detector(config.detectors, n, runtime=config.runtime) for n in (ROI_DETECTOR, BONE_DETECTOR))
    done = 0
    for uri, pixel_id in images:
        gray = decode(storage.read_bytes(uri), config.decode, pixel_id).gray
        found = extract_regions(gray, roi, bones, config.regions)
        _ = [encode_png(r.crop) for r in found if r.crop is not None]
        done += 1
    return done
