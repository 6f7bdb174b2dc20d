"""A served non-cached archive of phantoms, for `bench_noncached`, and the loops that it is held against.

The loops take one candidate after the other, as the paper does (WristMIR App. F): read, decode, cut the wrist by its
stored box, find the bones, cut the asked one, embed it.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from wristmir_ray.anatomy import Box
from wristmir_ray.models.detector import BONE_DETECTOR, Detection

REPO = Path(__file__).parents[2]
BATCH = 8
"""Of the encoder, as the demo trains it."""


@dataclass(frozen=True)
class World:
    """An archive that is indexed twice."""

    root: str
    full: str
    """Run of the index that stores all regions."""
    bare: str
    """Run of the index that stores whole wrists."""


def make_world(demo: Any, root: str) -> World:
    """Ingest the demo's phantoms, cut them with its detectors, embed them with random weights, and index them twice."""
    from tests.integration.tiny_world import publish_encoder
    from wristmir_ray.config import load_config
    from wristmir_ray.ingest.config import IngestConfig
    from wristmir_ray.ingest.pipeline import run as ingest
    from wristmir_ray.preprocess.config import PreprocessConfig
    from wristmir_ray.preprocess.pipeline import run as preprocess
    from wristmir_ray.raydata import disconnect
    from wristmir_ray.retrieval.config import RetrievalConfig
    from wristmir_ray.retrieval.pipeline import run as index

    jobs = REPO / "jobs"
    quiet = ["--root", root, "--ray.progress", "false", "--max_reject_share", "0.5"]
    images = ["--images", f"{demo.phantoms}/images", "--metadata.path", f"{demo.phantoms}/metadata.csv"]
    images += ["--reports.path", f"{demo.phantoms}/reports.csv"]
    ingest(load_config(IngestConfig, [*quiet, *images], jobs / "ingest.yaml"))
    cut = [*quiet, "--detectors", demo.archive, "--detect.workers", str(os.cpu_count())]
    preprocess(load_config(PreprocessConfig, cut, jobs / "preprocess.yaml"))
    publish_encoder(root, fixed_batch=BATCH)
    runs = [
        index(load_config(RetrievalConfig, [*quiet, "--regions", regions], jobs / "build_index.yaml")).runs["index"]
        for regions in ('["distal_radius", "distal_ulna", "ulnar_styloid"]', "[]")
    ]
    disconnect()  # the jobs' own Ray, which would go on beside the service
    return World(root, *runs)


@dataclass
class Service:
    """A running service whose index can be swapped."""

    world: World
    client: Any
    config: Path
    head: Any

    def swap(self, run: str) -> None:
        """Serve another index; return once it answers, and what has deployed it is gone."""
        settings = yaml.safe_load(self.config.read_text())
        (ingress,) = [d for d in settings["applications"][0]["deployments"] if d["name"] == "Ingress"]
        ingress["user_config"]["index_run"] = run
        self.config.write_text(yaml.safe_dump(settings))
        self.head.deploy(self.config)
        while self.client.archives()[0].lineage.index != run:
            time.sleep(0.2)
        time.sleep(10)


@contextmanager
def served(world: World, folder: Path) -> Iterator[Service]:
    """Serve the archive without bones, by the repository's own settings, a replica of Look a core."""
    from tests.integration.local_head import free_ports, local_head, serving
    from wristmir_ray.serving.client import Client

    (port,) = free_ports(1)
    settings = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    settings["http_options"]["port"] = port
    (application,) = settings["applications"]
    application["args"] |= {"root": world.root, "index_run": world.bare, "rate_limit": None}
    application["args"] |= {"cache": str(folder / "cache")}
    (look,) = [d for d in application["deployments"] if d["name"] == "Look"]
    del look["autoscaling_config"]
    look["num_replicas"] = os.cpu_count()
    config = folder / "serve_config.yaml"
    config.write_text(yaml.safe_dump(settings))
    log = folder / "log"
    with local_head(REPO) as head, serving(config, port, head, log) as url, Client(url, timeout_s=60) as client:
        yield Service(world, client, config, head)


@dataclass(frozen=True)
class Loop:
    """What one candidate goes through."""

    root: str
    crops: str
    """Run of the crops, for their settings."""
    torch: bool
    """The trainer's own `predict` in eager PyTorch instead of the archive's back end."""
    threads: int

    def open(self) -> Any:
        """Return source, region -> vector or None; loads everything first."""
        import torch

        from wristmir_ray import storage
        from wristmir_ray.models.encoder import ClipEncoder, load_encoder
        from wristmir_ray.models.networks import RuntimeConfig
        from wristmir_ray.serving.onthefly.look import load_looker

        torch.set_num_threads(self.threads)
        made = storage.published(self.root, "crops", self.crops)
        runtime = RuntimeConfig(**{**made.config["runtime"], "threads": self.threads})
        looker = load_looker(self.root, self.crops, runtime)
        if self.torch:
            looker._bones = Predict(made.config["detectors"], made.models[BONE_DETECTOR], self.threads)
        looker.warm_up()
        trained = load_encoder(self.root)
        single = ClipEncoder(replace(trained._clip, fixed_batch=None), trained.digest, "cpu")

        def one(source: Any, region: Any) -> Any:
            (cut,) = looker.cut([source], looker.fetch([source]), region)
            return None if cut.crop is None else single.encode_images([cut.crop])[0]

        return one


class Predict:
    """The trainer's own `predict` with the published network's weights: the paper's detector as its library runs it."""

    def __init__(self, root: str, run: str, threads: int) -> None:
        os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0")  # before it is imported
        import torch
        from ultralytics import YOLO

        from tests.bench.bench_detectors import _published, trainers_module

        torch.set_num_threads(threads)  # the library takes what it likes when it is imported
        model, self._spec = _published(root, BONE_DETECTOR, run)
        self._yolo = YOLO("yolo11n.yaml", task="detect", verbose=False)
        self._yolo.model = trainers_module(model, len(self._spec.classes))
        self.digest, self.typical_scores = self._spec.digest, dict.fromkeys(self._spec.classes, 1.0)

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """Return each image's detections, one image a call."""
        return [self._one(np.repeat(image[..., None], 3, axis=2)) for image in images]

    def _one(self, colour: np.ndarray) -> list[Detection]:
        spec = self._spec
        settings = {"imgsz": spec.image_size, "conf": min(spec.score_thresholds), "iou": spec.iou_threshold}
        boxes = self._yolo.predict(colour, device="cpu", verbose=False, **settings)[0].boxes
        found = zip(boxes.cls.int().tolist(), boxes.xyxy.tolist(), boxes.conf.tolist(), strict=True)
        return [
            Detection(spec.classes[c], Box(*box), score) for c, box, score in found if score >= spec.score_thresholds[c]
        ]


class Running:
    """A loop whose processes have loaded everything, and share its candidates.

    Args:
        loop: what each runs.
        processes: how many.
    """

    def __init__(self, loop: Loop, processes: int) -> None:
        self._pool = get_context("spawn").Pool(processes, _start, (loop,))
        self._processes = processes

    def warm_up(self, source: Any, region: Any) -> None:
        """Have each process take some candidate, several times."""
        self._pool.map(partial(_step, region=region), [source] * self._processes * 4, chunksize=1)

    def seconds(self, sources: Sequence[Any], region: Any) -> float:
        """Return how long it takes for some candidates."""
        started = time.perf_counter()
        for _ in self._pool.imap_unordered(partial(_step, region=region), sources):
            pass
        return time.perf_counter() - started

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


_opened: list[Any] = []
"""A process's loop."""


def _start(loop: Loop) -> None:
    _opened.append(loop.open())


def _step(source: Any, region: Any) -> None:
    _opened[0](source, region)
