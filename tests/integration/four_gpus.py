"""The paper's training, placed as its YAML says, on four GPUs that Ray only counts: `python -m ... ROOT SETTINGS`.

Each rank writes where it runs and which training pairs it read to ROOT/placed/RANK.json.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.train

from wristmir_ray.config import load_config
from wristmir_ray.training import pipeline, trainer
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.loop import train_loop
from wristmir_ray.training.pairs import Pairs

YAML = Path(__file__).parents[2] / "jobs" / "train_clip.yaml"


def placed_loop(job: dict[str, Any]) -> None:
    """Train as ever, then write down where this rank was and what it read."""
    read: list[tuple[int, list[int]]] = []
    pixels = Pairs.pixels

    def noted(self: Pairs, index_B: np.ndarray) -> np.ndarray:
        read.append((len(self), index_B.tolist()))
        return pixels(self, index_B)

    Pairs.pixels = noted  # type: ignore[method-assign]
    train_loop(job)
    context, config = ray.train.get_context(), TrainClipConfig(**job["config"])
    rank, world = context.get_world_rank(), context.get_world_size()
    train = max(size for size, _ in read)
    (node,) = [n for n in ray.nodes() if n["NodeID"] == ray.get_runtime_context().get_node_id()]
    where = {
        "world": world,
        "gpus": ray.get_gpu_ids(),
        "cpus": ray.get_runtime_context().get_assigned_resources()["CPU"],
        "pool": node["Labels"]["pool"],
        "pairs": train,
        "read": [i for size, index in read if size == train for i in index],
    }
    folder = Path(config.root) / "placed"
    folder.mkdir(exist_ok=True)
    (folder / f"{rank}.json").write_text(json.dumps(where))


if __name__ == "__main__":
    settings = load_config(TrainClipConfig, ["--root", *sys.argv[1:]], YAML)
    ray.init(
        num_cpus=17,  # four for each rank, one for the stage that decodes
        num_gpus=4,
        labels={"pool": "gpu"},
        include_dashboard=False,
        object_store_memory=200 * 2**20,
        log_to_driver=False,
    )
    trainer.train_loop = placed_loop
    print(pipeline.run(settings).runs["encoder"])
