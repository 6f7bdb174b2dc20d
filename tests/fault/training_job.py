"""A small training to be hurt: `python -m tests.fault.training_job ROOT EPOCHS WORKERS [MIN_WORKERS [CPUS]]`.

With MIN_WORKERS it is elastic: on a cluster of two nodes, of which one is killed after the first checkpoint, or,
with CPUS, on one node that has so many and no more.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wristmir_ray import storage
from wristmir_ray.config import RayConfig
from wristmir_ray.training import pipeline
from wristmir_ray.training.config import TrainClipConfig

SNAPSHOT = "_work/train_clip/*/checkpoint_manager_snapshot.json"
"""Ray Train writes it as soon as an epoch is safe."""


def tiny_vit(folder: Path) -> str:
    """Write an open_clip ViT of two blocks at 32 px: without batch statistics, ranks change nothing but rounding."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


def config(root: Path, epochs: int, workers: int, least: int | None = None, batch: int = 48) -> TrainClipConfig:
    """96 pairs in global batches of 48: for one, two, three or four ranks; or of 32, which three cannot share."""
    settings = {
        "root": str(root),
        "encoder": {"model": tiny_vit(root / "model"), "init": "random"},
        "trainable": {"image_blocks": None},
        "batch_size": batch,
        "epochs": epochs,
        "optim": {"lr": 1e-3, "warmup_steps": 2},
        "workers": {
            "num_workers": workers,
            "min_workers": least,
            "use_gpu": False,
            "cpus": 1,
            "max_failures": 2,
            "start_timeout_s": 20 if least else 300,
            "collective_timeout_s": 30,
        },
        "ray": RayConfig(progress=False, object_store_gib=0.2).model_dump(),
    }
    return TrainClipConfig(**settings)  # type: ignore[arg-type]


def history(root: Path, run_id: str) -> list[dict[str, float]]:
    """Return the rows of a published run."""
    uri = storage.join(storage.run_uri(str(root), "encoder", run_id), "metrics.jsonl")
    return [json.loads(line) for line in storage.read_bytes(uri).splitlines()]


def curve(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return what was computed, whoever computed it: all rows but those of the ranks' starts."""
    return [row for row in rows if row["kind"] != "start"]


@contextmanager
def losing_a_node(root: Path) -> Iterator[None]:
    """Connect to a cluster of two nodes with two CPUs each; one is killed after the first checkpoint."""
    import ray
    from ray.cluster_utils import Cluster

    health = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20, "_system_config": health}
    cluster = Cluster(initialize_head=True, connect=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=100 * 2**20) for _ in range(2)]
    cluster.wait_for_nodes(timeout=120)

    def kill() -> None:
        while not list(root.glob(SNAPSHOT)):
            time.sleep(0.1)
        cluster.remove_node(nodes[1], allow_graceful=False)

    threading.Thread(target=kill, daemon=True).start()
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    place, (count, ranks, *elastic) = Path(sys.argv[1]), map(int, sys.argv[2:])
    match elastic:
        case [least]:
            with losing_a_node(place):
                done = pipeline.run(config(place, count, ranks, least))
        case [least, cpus]:
            few = config(place, count, ranks, least, batch=32)
            done = pipeline.run(few.with_(ray=few.ray.model_copy(update={"num_cpus": cpus})))
        case _:
            done = pipeline.run(config(place, count, ranks))
    print(done.runs["encoder"])
