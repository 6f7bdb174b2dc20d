"""Random filters on every kind of index: hits are allowed, and where the index says so, the exact ones."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.retrieval.made_up import exams_of, publish, queries, vectors_of
from wristmir_ray.anatomy import FractureType, Region, Sex, Side, View
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.retrieval.publishing import update
from wristmir_ray.search import Mode, search

EXAMS, LATER = 500, 200
ALL = np.arange(EXAMS + LATER)


@pytest.fixture(scope="module", params=list(Kind))
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = str(tmp_path_factory.mktemp(request.param.value))
    settings: dict[str, Any] = {"codes_min_rows": 100, "pool": 10, "probes": 3, "ef_search": 8}
    publish(root, ALL[:EXAMS], IndexConfig(kind=request.param, calibration_queries=1, **settings))
    update(root, exams_of(ALL[EXAMS:]), vectors_of(ALL[EXAMS:]))
    return Index.load(root)


def random_filters(rng: np.random.Generator) -> Filters:
    """Return filters of any selectivity, none and nearly everything included."""
    some = lambda values, share=0.3: values[int(rng.integers(len(values)))] if rng.random() < share else None  # noqa: E731
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(-100, 1100, 2)]
    return Filters(
        laterality=some(list(Side)),
        view=some(list(View), 0.1),
        sex=some(list(Sex)),
        age_min_years=some(rng.uniform(0, 18, 1).tolist()),
        age_max_years=some(rng.uniform(0, 18, 1).tolist()),
        date_from=some(days[:1]),
        date_to=some(days[1:]),
        fracture_type=some(list(FractureType)[:5]),
        exclude_patient=some([f"p{int(rng.integers(240))}"]),
        exclude_exam=some([f"{int(rng.integers(EXAMS + LATER)):032x}"]),
    )


def satisfies(row: dict[str, Any], f: Filters, region: Region) -> bool:
    """Judge one exam, value by value."""
    wanted = {"laterality": f.laterality, "view": f.view, "sex": f.sex, f"{region}_fracture_type": f.fracture_type}
    if any(value is not None and row[name] != value for name, value in wanted.items()):
        return False
    for name, low, high in (
        ("age_years", f.age_min_years, f.age_max_years),
        ("study_date", f.date_from, f.date_to),
    ):
        value = row[name]
        if (low is not None or high is not None) and value is None:
            return False
        if (low is not None and value < low) or (high is not None and value > high):
            return False
    return row["patient_id"] != f.exclude_patient and row["exam_id"] != f.exclude_exam


def run(index: Index, filters: int) -> None:
    rows, vectors = exams_of(ALL).to_pylist(), vectors_of(ALL)
    rng = np.random.default_rng(0)
    counts = {"exact": 0, "certified": 0, "approximate": 0}
    kinds = {e.kind for e in index.description.segments}
    for n in range(filters):
        region, mode, f = list(Region)[n % 4], list(Mode)[n % 3], random_filters(rng)
        query = queries(rng, index)
        pool, k = int(rng.integers(1, (60, 6)[n % 2])), int(rng.integers(1, (15, 4)[n % 2]))
        asked = SearchRequest(region, mode, pool=pool, k=k, vectors=query)
        answer = index.search(SearchRequest(**{**vars(asked), "filters": f}))
        allowed = np.array([satisfies(r, f, region) for r in rows])
        hits = [int(h.exam_id, 16) for h in answer.hits]
        assert allowed[hits].all()
        assert answer.gallery == allowed.sum()
        assert len(set(hits)) == len(hits)
        counts[answer.exactness.split("(")[0]] += 1
        if answer.exactness.startswith("approximate"):
            continue
        both = query[Region.WRIST], query[region], vectors[Region.WRIST], vectors[region]
        plain = search(*both, mode=mode, pool=asked.pool, k=asked.k, allowed_N=allowed)
        assert hits == plain.rows.tolist()
        found = np.array([h.global_score for h in answer.hits], np.float32)
        assert found.tobytes() == plain.global_scores.astype(np.float32).tobytes()
    if kinds & {"ivf", "hnsw"}:
        assert counts["approximate"] > filters / 5  # few allowed rows are scanned
    else:
        assert counts["approximate"] == 0
    if kinds == {"certified"}:
        assert counts["certified"] > 0, "nothing was certified: the test would prove nothing"


def test_random_filters(index: Index) -> None:
    run(index, 120)


@pytest.mark.slow
def test_ten_thousand_random_filters(index: Index) -> None:
    run(index, 10_000)


def test_recall_is_measured_and_said(index: Index, tmp_path: Path) -> None:
    entry = index.description.segments[0]
    asked = SearchRequest(Region.WRIST, Mode.GLOBAL, vectors=queries(np.random.default_rng(1), index))
    said = index.search(asked).exactness
    if entry.kind in {"ivf", "hnsw"}:
        worst = min(e.recall["wrist"] for e in index.description.segments)
        assert 0.1 < worst <= 1
        assert said == f"approximate({worst:.4f})"
    else:
        assert entry.recall == {}
        assert said in {"exact", "certified"}
