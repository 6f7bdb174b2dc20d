"""How often is a new patient's image wrongly told that the archive holds nothing like it? Promised: a share of alpha.

The demo's archive, its trained encoder: half of the patients whom the encoder has not learned from are taken
out of the index, and one exam of each is asked as an upload is; forty halvings. `rates`: the share turned
away, by kind of search, which must lie between alpha - 1 / (n + 1) and alpha, n the patients that calibrated;
`errors_apart`: how far the worst lies outside, in standard errors of its mean over the halvings.
`learned_rates`: with a threshold from all patients, learned ones too, which nothing promises. `strangers`: the
share turned away of the same patients' wrists upside down, and with grey inverted: no gate, since an encoder
may find them alike.
"""

import tempfile
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.trained import searched

HALVINGS, ALPHA, POOL = 40, 0.05, 100
STRANGERS = {"upside_down": lambda gray: gray[::-1].copy(), "inverted": lambda gray: np.where(gray, 255 - gray, 0)}
"""The padding of a crop stays black."""


def measure() -> dict[str, Any]:
    """Return the shares, and how far the worst of them lies outside of what is promised."""
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.index import Index

    with tempfile.TemporaryDirectory() as folder:
        demo = searched(folder)
        index = Index.load(demo.archive)
        strange = _strangers(demo.archive, index)
        whole = {r: _dense(index, r) for r in Region}
        halves = [_halved(index, whole, strange, n, Path(folder)) for n in range(HALVINGS)]
    rates, learned, told = (
        {kind: float(np.mean([h[name][kind] for h in halves])) for kind in halves[0][name]}
        for name in ("rates", "learned", "strangers")
    )
    apart = {
        kind: _apart([h["rates"][kind] for h in halves], [h["calibrated"][kind] for h in halves]) for kind in rates
    }
    return {
        "ours": round(max(rates.values()), 4),
        "peer": None,
        "ratio": None,
        "unit": "share of new patients turned away",
        "errors_apart": round(max(apart.values()), 2),
        "promised": [round(ALPHA - 1 / (min(halves[0]["calibrated"].values()) + 1), 4), ALPHA],
        "calibrated": halves[0]["calibrated"],
        "asked": min(h["asked"] for h in halves),
        "rates": {k: round(v, 4) for k, v in rates.items()},
        "learned_rates": {k: round(v, 4) for k, v in learned.items()},
        "strangers": {k: round(v, 4) for k, v in told.items()},
    }


def _apart(rates: list[float], calibrated: list[int]) -> float:
    """Return how far a mean rate lies outside of what is promised, in its standard errors."""
    rate, error = float(np.mean(rates)), float(np.std(rates, ddof=1)) / len(rates) ** 0.5
    low = ALPHA - 1 / (min(calibrated) + 1)
    apart = max(low - rate, rate - ALPHA, 0.0)
    return apart / error if apart else 0.0


def _strangers(root: str, index: Any) -> Mapping[str, Mapping[str, np.ndarray]]:
    """Return kind of stranger -> exam -> its vector, of all exams that were not learned from."""
    from wristmir_ray import storage
    from wristmir_ray.anatomy import Region
    from wristmir_ray.imaging.crop import decode_png
    from wristmir_ray.models.encoder import load_encoder
    from wristmir_ray.schemas import CROPS

    crops = storage.read_table(root, CROPS, index.run.inputs[CROPS.name], ["exam_id", "region", "png", "split"])
    rows = [r for r in crops.to_pylist() if r["region"] == Region.WRIST and r["split"] != "train" and r["png"]]
    encoder = load_encoder(root, index.run.models["encoder"])
    ids, images = [r["exam_id"] for r in rows], [decode_png(r["png"]) for r in rows]
    out = {}
    for name, change in STRANGERS.items():
        vectors = encoder.encode_images([change(i).astype(np.uint8) for i in images])
        out[name] = dict(zip(ids, vectors, strict=True))
    return out


def _dense(index: Any, region: Any) -> np.ndarray:
    """Return (N, D) of all exams in the order of their ids; NaN rows where the region was not found."""
    nowhere = np.full(index.dim, np.nan, np.float32)
    found = [index.vector(e, region) for e in index.exams["exam_id"].to_pylist()]
    return np.stack([nowhere if v is None else v for v in found])


def _halved(
    index: Any,
    whole: Mapping[Any, np.ndarray],
    strange: Mapping[str, Mapping[str, np.ndarray]],
    seed: int,
    folder: Path,
) -> dict[str, Any]:
    """Return the shares of one halving."""
    from wristmir_ray.anatomy import BONES, Region
    from wristmir_ray.search.merge import Mode

    exams = index.exams.to_pylist()
    of_patient: dict[str, list[str]] = {}
    for row in exams:
        if row["split"] != "train":
            of_patient.setdefault(row["patient_id"], []).append(row["exam_id"])
    rng = np.random.default_rng(seed)
    patients = rng.permutation(sorted(of_patient))
    held = set(patients[: len(patients) // 2].tolist())
    asked = [of_patient[p][int(rng.integers(len(of_patient[p])))] for p in sorted(held)]
    kinds = [(Mode.GLOBAL, Region.WRIST), *((m, b) for m in (Mode.TWO_STAGE, Mode.REGION) for b in BONES)]
    rest = _without(index, whole, {e for p in held for e in of_patient[p]}, folder / f"half-{seed}")
    rates = {f"{m}/{r}": _turned_away(rest, _queries(index, asked, r), m, r) for m, r in kinds}
    other = copy(rest)
    other.description = replace(rest.description, thresholds=_of_all(rest))
    learned = {f"{m}/{r}": _turned_away(other, _queries(index, asked, r), m, r) for m, r in kinds}
    told = {
        name: _turned_away(rest, [{Region.WRIST: of[e]} for e in asked if e in of], Mode.GLOBAL, Region.WRIST)
        for name, of in strange.items()
    }
    ours = [of_patient[p][0] for p in patients if p not in held]  # of several exams, any may be drawn
    count = {f"{m}/{r}": len(list(_queries(index, ours, r))) for m, r in kinds}
    return {"rates": rates, "learned": learned, "strangers": told, "asked": len(asked), "calibrated": count}


def _queries(index: Any, asked: list[str], region: Any) -> Iterator[dict[Any, np.ndarray]]:
    """Yield the vectors of each exam that has both."""
    from wristmir_ray.anatomy import Region

    for exam in asked:
        vectors = {r: index.vector(exam, r) for r in (Region.WRIST, region)}
        if all(v is not None for v in vectors.values()):
            yield vectors


def _turned_away(index: Any, queries: Any, mode: Any, region: Any) -> float:
    from wristmir_ray.retrieval.index import SearchRequest

    requests = [SearchRequest(region, mode, POOL, 10, vectors=v, only_similar=True) for v in queries]
    return float(np.mean([a.no_similar_case for a in index.search_many(requests)]))


def _without(index: Any, whole: Mapping[Any, np.ndarray], gone: set[str], root: Path) -> Any:
    """Return an index of the other exams, calibrated as any is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from wristmir_ray import storage
    from wristmir_ray.retrieval.config import IndexConfig, Kind
    from wristmir_ray.retrieval.index import Index
    from wristmir_ray.retrieval.writing import Making, write_index

    stay = pc.invert(pc.is_in(index.exams["exam_id"], value_set=pa.array(sorted(gone))))
    exams = index.exams.filter(stay)
    vectors = {r: array[stay.to_numpy()] for r, array in whole.items()}
    config = IndexConfig(kind=Kind.EXACT, alpha=ALPHA, pool=POOL)
    files = write_index(storage.run_uri(str(root), "index", "h"), exams, vectors, Making(index.encoder_digest, config))
    settings = {"index": config.model_dump(mode="json")}
    run = storage.Manifest("index", "h", "bench", exams.num_rows, files=files, config=settings)
    storage.publish(str(root), run)
    return Index.load(str(root))


def _of_all(index: Any) -> dict[str, float]:
    """Return the thresholds that all patients would give, those that the encoder has learned from too."""
    from unittest.mock import patch

    from wristmir_ray.retrieval import threshold

    with patch.object(threshold, "_unlearned", lambda segment: np.ones(len(segment.ids), bool)):
        return threshold.calibrate(index, ALPHA, 1_000, POOL)
