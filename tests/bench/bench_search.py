"""One query through the index against FAISS's flat index with a naive rerank, one thread each.

100,000 exams, pool 100, ten hits. Ours is a whole `Index.search`: filters, certified scan, rerank,
merge, metadata and lineage of the hits. The peer is `faiss.IndexFlatIP` over the wrists, then the
product with the pool's bones, sorted: no ids, no metadata. Both in turn, query by query; medians of the
ratios. `recall` is of our ten hits against the two stages in float64.

`filtered`: a search that lets a share of the exams through, over the unfiltered one of the same query.
`batch_gain`: FAISS, query by query, over a batch of 64 of ours, a query; `batch_gain_over_batch` over
FAISS's own batch. `isotropic_ratio`: an index of vectors without any structure, where the index keeps no
codes and scans in full; `isotropic_fallback`: with codes forced upon it, what trying them costs over the
full scan. How the vectors are made says `embedded`.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.embedded import crowded, energy, isotropic, publish

EXAMS, POOL, K, QUERIES, BATCH = 100_000, 100, 10, 40, 64
SHARES = (0.01, 0.1, 0.2, 0.5, 1.0)


def measure() -> dict[str, Any]:
    """Return milliseconds a query of both, their ratio, recall, and what filters and batches cost."""
    import faiss

    faiss.omp_set_num_threads(1)
    from wristmir_ray.anatomy import Region

    wrists, bones = crowded(EXAMS + QUERIES + BATCH, 0), crowded(EXAMS + QUERIES + BATCH, 1)
    asked = np.random.default_rng(2).permutation(len(wrists))[: QUERIES + BATCH]
    rest = np.setdiff1d(np.arange(len(wrists)), asked)
    queries = list(zip(wrists[asked], bones[asked], strict=True))
    wrists, bones = wrists[rest], bones[rest]
    flat = faiss.IndexFlatIP(wrists.shape[1])
    flat.add(wrists)
    with tempfile.TemporaryDirectory() as folder:
        index = publish(Path(folder), wrists, bones)
        single = [_single(index, flat, bones, q) for q in queries[:QUERIES]]
        found = [_recall(index, wrists, bones, q) for q in queries[:QUERIES]]
        filtered = {str(s): _filtered(index, s, queries[:QUERIES]) for s in SHARES}
        batch = _batch(index, flat, queries[QUERIES:])
        width = len(index.segments[0]._codes[Region.WRIST].axes)
    ours, peer = (statistics.median(s[i] for s in single) for i in (0, 1))
    return {
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(statistics.median(s[0] / s[1] for s in single), 3),
        "unit": "ms a query",
        "recall": min(found),
        "exactness": single[0][2],
        "codes_width": width,
        "energy": energy(wrists),
        "filtered": filtered,
        "worst_filtered": max(filtered.values()),
        "worst_below_fifth": max(v for s, v in filtered.items() if float(s) < 0.2),
        **batch,
        **_worst_case(queries),
    }


def _ms(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)


def _request(query: tuple[np.ndarray, np.ndarray], **filters: Any) -> Any:
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.filters import Filters
    from wristmir_ray.retrieval.index import SearchRequest

    vectors = {Region.WRIST: query[0], Region.DISTAL_RADIUS: query[1]}
    return SearchRequest(Region.DISTAL_RADIUS, pool=POOL, k=K, vectors=vectors, filters=Filters(**filters))


def _single(index: Any, flat: Any, bones: np.ndarray, query: tuple[np.ndarray, np.ndarray]) -> tuple[float, float, str]:
    def naive() -> np.ndarray:
        _, rows = flat.search(query[0][None], POOL)
        local = bones[rows[0]] @ query[1]
        return rows[0][np.argsort(-local)[:K]]

    request = _request(query)
    answer = index.search(request)
    pairs = [(_ms(lambda: index.search(request)), _ms(naive)) for _ in range(5)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), answer.exactness


def _recall(index: Any, wrists: np.ndarray, bones: np.ndarray, query: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the share of the ten best by float64 that is among our hits; they must be those of a full scan."""
    from wristmir_ray.search import Mode, search

    whole = np.concatenate(
        [wrists[i : i + 20_000].astype(float) @ query[0].astype(float) for i in range(0, EXAMS, 20_000)]
    )
    pool = np.argsort(-whole, kind="stable")[:POOL]
    best = pool[np.argsort(-(bones[pool].astype(float) @ query[1].astype(float)), kind="stable")[:K]]
    hits = index.search(_request(query)).hits
    plain = search(*query, wrists, bones, mode=Mode.TWO_STAGE, pool=POOL, k=K)
    order = np.array([int(h.exam_id, 16) for h in hits])
    assert order.tolist() == plain.rows.tolist(), "the certified answer is not the exact one"
    assert [h.region_score for h in hits] == plain.region_scores.tolist()
    return len(set(order.tolist()) & set(best.tolist())) / K


def _filtered(index: Any, share: float, queries: list[tuple[np.ndarray, np.ndarray]]) -> float:
    ratios = []
    for query in queries:
        plain, some = _request(query), _request(query, age_max_years=100 * share)
        assert abs(index.search(some).gallery / EXAMS - share) < 0.01
        pairs = [(_ms(lambda a=some: index.search(a)), _ms(lambda a=plain: index.search(a))) for _ in range(5)]
        ratios.append(statistics.median(p[0] for p in pairs) / statistics.median(p[1] for p in pairs))
    return round(statistics.median(ratios), 3)


def _batch(index: Any, flat: Any, queries: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    requests = [_request(q) for q in queries]
    together = np.stack([q[0] for q in queries])
    rounds = [
        (
            _ms(lambda: index.search_many(requests)),
            _ms(lambda: [flat.search(q[0][None], POOL) for q in queries]),
            _ms(lambda: flat.search(together, POOL)),
        )
        for _ in range(5)
    ]
    ours, one_by_one, batch = (statistics.median(r[i] for r in rounds) / BATCH for i in range(3))
    return {
        "batch_ms": round(ours, 3),
        "faiss_ms": round(one_by_one, 3),
        "faiss_batch_ms": round(batch, 3),
        "batch_gain": round(statistics.median(r[1] / r[0] for r in rounds), 2),
        "batch_gain_over_batch": round(statistics.median(r[2] / r[0] for r in rounds), 2),
    }


def _worst_case(queries: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    import faiss

    from wristmir_ray.search.certify import axes, choose, compress
    from wristmir_ray.search.scan import best

    gallery = isotropic(EXAMS, 3)
    chosen = choose(gallery, POOL)
    codes = compress(gallery, axes(gallery[:5000])[:64])
    flat = faiss.IndexFlatIP(gallery.shape[1])
    flat.add(gallery)
    rounds = []
    for query in isotropic(15, 4):
        rounds.append(
            (
                _ms(lambda q=query: best(q, gallery, POOL)),
                _ms(lambda q=query: flat.search(q[None], POOL)),
                _ms(lambda q=query: best(q, gallery, POOL, None, codes)),
            )
        )
        assert not best(query, gallery, POOL, None, codes).certified
    return {
        "isotropic_codes": chosen is not None,
        "isotropic_ratio": round(statistics.median(r[0] / r[1] for r in rounds), 3),
        "isotropic_fallback": round(statistics.median(r[2] / r[0] for r in rounds), 3),
    }
