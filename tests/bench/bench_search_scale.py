"""What a scan for 100 candidates costs from 10,000 to 1,000,000 exams, one thread.

The certified scan, the full one, and FAISS's brute force over the same array (`faiss.knn`), in turn;
medians in milliseconds. `bandwidth_gb_s` is what one thread reads from this machine's memory: the array's inner
product with itself (BLAS), its best in turn with the scans at 1,000,000; `full_share` and `certified_share`
say how much of it the scans' best reach: bytes of vectors, or of codes and rests (rescored rows come on
top), over time. `ratio` is certified over FAISS at 1,000,000. How the vectors are made says `embedded`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.embedded import crowded

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
POOL, QUERIES = 100, 9


def measure() -> dict[str, Any]:
    """Return the curve, the ratio at its end and the share of the memory's bandwidth."""
    import faiss

    from wristmir_ray.search.certify import choose, compress
    from wristmir_ray.search.scan import best

    faiss.omp_set_num_threads(1)
    vectors = crowded(SIZES[-1] + 100, 0)
    queries, gallery = vectors[-100::11][:QUERIES], vectors[: SIZES[-1]]
    axes_CD = choose(gallery[: SIZES[2]], POOL)
    assert axes_CD is not None
    codes = compress(gallery, axes_CD)
    curve: dict[str, Any] = {}
    for n in SIZES:
        part, own = gallery[:n], type(codes)(codes.axes, codes.leading[:n], codes.rest[:n])
        assert best(queries[0], part, POOL, None, own).certified
        flat = part.reshape(-1)
        seconds = _in_turn(
            [
                lambda q, p=part, c=own: best(q, p, POOL, None, c),
                lambda q, p=part: best(q, p, POOL),
                lambda q, p=part: faiss.knn(q[None], p, POOL, metric=faiss.METRIC_INNER_PRODUCT),
                lambda _, f=flat: np.dot(f, f),
            ],
            queries,
        )
        medians = [round(1e3 * statistics.median(s), 3) for s in seconds]
        curve[str(n)] = dict(zip(("certified", "full", "faiss", "read"), medians, strict=True))
    last, width = curve[str(SIZES[-1])], len(axes_CD)
    best_s = [min(s) for s in seconds]
    gb_s = gallery.nbytes / 1e9 / best_s[3]
    return {
        "ours": last["certified"],
        "peer": last["faiss"],
        "ratio": round(last["certified"] / last["faiss"], 3),
        "unit": "ms a scan of 1,000,000",
        "bandwidth_gb_s": round(gb_s, 1),
        "full_share": round(best_s[3] / best_s[1], 3),
        "certified_share": round(SIZES[-1] * (4 * width + 4) / 1e9 / best_s[0] / gb_s, 3),
        "codes_width": width,
        "fields": curve,
    }


def _in_turn(scans: list[Callable[[np.ndarray], Any]], queries: np.ndarray) -> list[list[float]]:
    seconds: list[list[float]] = [[] for _ in scans]
    for query in queries:
        for scan, taken in zip(scans, seconds, strict=True):
            started = time.perf_counter()
            scan(query)
            taken.append(time.perf_counter() - started)
    return seconds
