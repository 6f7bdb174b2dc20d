"""One peer's two-stage search, in an environment of its own: python peer_search.py NAME FOLDER.

FOLDER holds wrists.npy, bones.npy (N, D) and queries.npy (Q, 2, D), float32 unit vectors: a query's wrist and bone.
Prints JSON {setting: {"ms": [a query], "ids": [its ten hits], "build_s": ...}}. Each peer is used as its manual says:
the pool by whole wrist, reordered by the bone, with the library's own means where it has some.
"""

import importlib.util
import json
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

POOL, K = 100, 10
Hits = Callable[[np.ndarray, np.ndarray], Any]


def lancedb(wrists: np.ndarray, bones: np.ndarray, folder: Path) -> dict[str, tuple[float, Hits]]:
    """A table with both vectors; the pool's bones come with it and are scored here."""
    import lancedb as lance
    import pyarrow as pa

    kind = pa.list_(pa.float32(), wrists.shape[1])
    columns = {n: pa.FixedSizeListArray.from_arrays(v.ravel(), type=kind) for n, v in (("w", wrists), ("b", bones))}
    table = lance.connect(folder / "lance").create_table("t", pa.table({"id": np.arange(len(wrists)), **columns}))

    def rerank(found: Any, bone: np.ndarray) -> Any:
        part = found.select(["id", "b"]).to_arrow()
        vectors = part["b"].combine_chunks().flatten().to_numpy().reshape(len(part), -1)
        return part["id"].to_numpy()[np.argsort(-(vectors @ bone), kind="stable")[:K]]

    def flat(wrist: np.ndarray, bone: np.ndarray) -> Any:
        return rerank(table.search(wrist, "w").distance_type("dot").bypass_vector_index().limit(POOL), bone)

    def indexed(wrist: np.ndarray, bone: np.ndarray) -> Any:
        return rerank(table.search(wrist, "w").distance_type("dot").refine_factor(10).limit(POOL), bone)

    started = time.perf_counter()
    table.create_index(metric="dot", vector_column_name="w", index_type="IVF_PQ")
    return {"flat": (0.0, flat), "ivf_pq": (time.perf_counter() - started, indexed)}


def qdrant(wrists: np.ndarray, bones: np.ndarray, folder: Path) -> dict[str, tuple[float, Hits]]:
    """A shard of the engine in this process; one query of two stages, as its `prefetch` has it."""
    import qdrant_edge as q

    vectors = {n: q.EdgeVectorParams(size=wrists.shape[1], distance=q.Distance.Dot) for n in ("w", "b")}
    optimizers = q.EdgeOptimizersConfig(default_segment_number=1)
    (folder / "qdrant").mkdir()
    config = q.EdgeConfig(vectors=vectors, optimizers=optimizers, max_search_threads=1)
    shard = q.EdgeShard.create(str(folder / "qdrant"), config)
    for start in range(0, len(wrists), 1000):
        rows = range(start, min(start + 1000, len(wrists)))
        points = [q.Point(id=i, vector={"w": wrists[i].tolist(), "b": bones[i].tolist()}, payload={}) for i in rows]
        shard.update(q.UpdateOperation.upsert_points(points))

    def ask(wrist: np.ndarray, bone: np.ndarray, params: Any) -> Any:
        first = q.Prefetch(limit=POOL, query=q.Query.Nearest(wrist.tolist(), using="w"), params=params)
        second = q.Query.Nearest(bone.tolist(), using="b")
        return [p.id for p in shard.query(q.QueryRequest(limit=K, query=second, prefetches=[first], params=params))]

    started = time.perf_counter()
    while shard.optimize():
        pass
    built = time.perf_counter() - started
    return {
        "exact": (0.0, lambda w, b: ask(w, b, q.SearchParams(exact=True))),
        "hnsw": (built, lambda w, b: ask(w, b, None)),
    }


def clip_retrieval(wrists: np.ndarray, bones: np.ndarray, folder: Path) -> dict[str, tuple[float, Hits]]:
    """Its index, made by autofaiss with its own defaults, asked by its own service's search; naive rerank."""
    from autofaiss import build_index

    found = importlib.util.find_spec("clip_retrieval")
    assert found
    assert found.submodule_search_locations
    package = types.ModuleType("clip_retrieval")  # without its __init__, which loads its downloader and torch
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["clip_retrieval"] = package
    from clip_retrieval.clip_back import ClipResource, KnnService

    started = time.perf_counter()
    limits = {"max_index_memory_usage": "4G", "current_memory_available": "16G", "nb_cores": 1}
    index, _ = build_index(wrists, save_on_disk=False, verbose=40, **limits)
    built = time.perf_counter() - started
    rest = dict.fromkeys(ClipResource.__dataclass_fields__) | {"metadata_is_ordered_by_ivf": False}
    resource = ClipResource(**{**rest, "image_index": index})
    service = KnnService(clip_resources={})

    def ask(wrist: np.ndarray, bone: np.ndarray) -> Any:
        pool = np.array(service.knn_search(wrist[None], "image", POOL, resource, False, False, False)[1])
        return pool[np.argsort(-(bones[pool] @ bone), kind="stable")[:K]]

    return {"autofaiss": (built, ask)}


def main(name: str, folder: Path) -> None:
    """Time one peer."""
    wrists, bones, queries = (np.load(folder / f"{n}.npy") for n in ("wrists", "bones", "queries"))
    made = {"lancedb": lancedb, "qdrant": qdrant, "clip_retrieval": clip_retrieval}[name](wrists, bones, folder)
    out: dict[str, Any] = {}
    for setting, (built, hits) in made.items():
        for wrist, bone in queries[:3]:
            hits(wrist, bone)
        ms, ids = [], []
        for wrist, bone in queries:
            started = time.perf_counter()
            found = hits(wrist, bone)
            ms.append(1e3 * (time.perf_counter() - started))
            ids.append([int(i) for i in found])
        out[setting] = {"ms": ms, "ids": ids, "build_s": round(built, 1)}
    print(json.dumps(out))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
