"""What a scan for 100 candidates costs from 10,000 to 1,000,000 exams, one thread.

The certified scan, the full one, and FAISS's brute force over the same array (`faiss.knn`), in turn;
medians in milliseconds. `bandwidth_gb_s` is what one thread reads from this machine's memory (the best
of a maximum over 2 GB and of a copy, read and write counted); `full_share` and `certified_share` say how
much of it the scans reach at 1,000,000: bytes of what is read (vectors; or codes, rests and rescored
rows) over time. `ratio` is certified over FAISS at 1,000,000. How the vectors are made says `embedded`.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.bench.embedded import DIM, crowded

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
        ours, full, peer = _in_turn(
            [
                lambda q, p=part, c=own: best(q, p, POOL, None, c),
                lambda q, p=part: best(q, p, POOL),
                lambda q, p=part: faiss.knn(q[None], p, POOL, metric=faiss.METRIC_INNER_PRODUCT),
            ],
            queries,
        )
        curve[str(n)] = {"certified": ours, "full": full, "faiss": peer}
    last, width, gb_s = curve[str(SIZES[-1])], len(axes_CD), _bandwidth(gallery)
    read = SIZES[-1] * (4 * width + 4)
    return {
        "ours": last["certified"],
        "peer": last["faiss"],
        "ratio": round(last["certified"] / last["faiss"], 3),
        "unit": "ms a scan of 1,000,000",
        "bandwidth_gb_s": round(gb_s, 1),
        "full_share": round(SIZES[-1] * DIM * 4 / 1e6 / last["full"] / gb_s, 3),
        "certified_share": round(read / 1e6 / last["certified"] / gb_s, 3),
        "codes_width": width,
        "fields": curve,
    }


def _in_turn(scans: list[Callable[[np.ndarray], Any]], queries: np.ndarray) -> list[float]:
    seconds: list[list[float]] = [[] for _ in scans]
    for query in queries:
        for scan, taken in zip(scans, seconds, strict=True):
            started = time.perf_counter()
            scan(query)
            taken.append(time.perf_counter() - started)
    return [round(1e3 * statistics.median(s), 3) for s in seconds]


def _bandwidth(gallery: np.ndarray) -> float:
    """Return GB/s of one thread."""
    rates = []
    target = np.empty_like(gallery[:250_000])
    for _ in range(3):
        started = time.perf_counter()
        gallery.max()
        rates.append(gallery.nbytes / 1e9 / (time.perf_counter() - started))
        started = time.perf_counter()
        np.copyto(target, gallery[:250_000])
        rates.append(2 * target.nbytes / 1e9 / (time.perf_counter() - started))
    return max(rates)
