"""One query through the index beside other search engines: LanceDB, Qdrant and clip-retrieval, one core each.

The same vectors, pool and hits as `bench_search`; every engine, ours too, is held to one core. Each peer
runs in a Python environment of its own (`requirements/peer_*.txt`), in its process, without a server
between: `peer_search` says how it is asked. Recall is of ten hits against both stages in float64. The only
gates are ours: what the others take is stated, and hangs on settings that a user could choose otherwise.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.embedded import crowded, publish

EXAMS, POOL, K, QUERIES = 100_000, 100, 10, 30
PEERS = ("lancedb", "qdrant", "clip_retrieval")
REPO = Path(__file__).parents[2]
ENVIRONMENTS = Path(os.environ.get("BENCH_PEERS", Path(tempfile.gettempdir()) / f"wristmir-peers-{os.getuid()}"))
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS", "TOKIO_WORKER_THREADS"), "1")


def measure() -> dict[str, Any]:
    """Return milliseconds a query and recall of every engine."""
    wrists, bones = crowded(EXAMS + QUERIES, 0), crowded(EXAMS + QUERIES, 1)
    asked = np.random.default_rng(2).permutation(len(wrists))[:QUERIES]
    queries = np.stack([wrists[asked], bones[asked]], axis=1)
    rest = np.setdiff1d(np.arange(len(wrists)), asked)
    wrists, bones = wrists[rest], bones[rest]
    true = [_plain(wrists, bones, *q) for q in queries]
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            for name, array in (("wrists", wrists), ("bones", bones), ("queries", queries)):
                np.save(work / f"{name}.npy", array)
            found = {"ours": _ours(work, wrists, bones, queries)}
            for peer in PEERS:
                found |= {f"{peer}.{setting}": made for setting, made in _peer(peer, work).items()}
    finally:
        os.sched_setaffinity(0, cores)
    fields = {
        name: {
            "ms": round(statistics.median(made["ms"]), 3),
            "recall": round(float(np.mean([len({*a} & {*b}) / K for a, b in zip(made["ids"], true, strict=True)])), 4),
            "build_s": made["build_s"],
        }
        for name, made in found.items()
    }
    best = min((f["ms"] for n, f in fields.items() if n != "ours"), default=None)
    return {
        "ours": fields["ours"]["ms"],
        "peer": best,
        "ratio": None if best is None else round(fields["ours"]["ms"] / best, 3),
        "unit": "ms a query, against the fastest peer whatever its recall",
        "recall": fields["ours"]["recall"],
        "fields": fields,
    }


def _plain(wrists: np.ndarray, bones: np.ndarray, wrist: np.ndarray, bone: np.ndarray) -> list[int]:
    scores = wrists.astype(float) @ wrist.astype(float)
    pool = np.argsort(-scores, kind="stable")[:POOL]
    order = np.argsort(-(bones[pool].astype(float) @ bone.astype(float)), kind="stable")
    return [int(i) for i in pool[order][:K]]


def _ours(work: Path, wrists: np.ndarray, bones: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.index import SearchRequest

    started = time.perf_counter()
    index = publish(work / "index", wrists, bones)
    built = time.perf_counter() - started
    ms, ids = [], []
    bone = Region.DISTAL_RADIUS
    for wrist, local in [*queries[:3], *queries]:
        asked = SearchRequest(bone, pool=POOL, k=K, vectors={Region.WRIST: wrist, bone: local})
        begun = time.perf_counter()
        hits = index.search(asked).hits
        ms.append(1e3 * (time.perf_counter() - begun))
        ids.append([int(h.exam_id, 16) for h in hits])
    return {"ms": ms[3:], "ids": ids[3:], "build_s": round(built, 1)}


def _peer(name: str, work: Path) -> dict[str, Any]:
    environment = {**os.environ, **ONE_THREAD}
    environment.pop("PYTHONPATH", None)
    command = [_python(name), str(Path(__file__).with_name("peer_search.py")), name, str(work)]
    done = subprocess.run(command, env=environment, cwd=work, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _python(name: str) -> str:
    """Return the peer's interpreter; its environment is made the first time."""
    wanted = REPO / "requirements" / f"peer_{name}.txt"
    folder = ENVIRONMENTS / f"{name}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    python, made = folder / "bin" / "python", folder / ".made"
    if not made.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        command = [uv, "pip", "install", "--quiet", "--no-deps", "-p", str(python), "-r", str(wanted)]
        subprocess.run(command, check=True)
        made.touch()
    return str(python)
