"""The index: exact, filtered, and bound to its encoder."""

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray import storage
from wristmir_ray.anatomy import Region, Side
from wristmir_ray.errors import IndexMismatch, NotPublished
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.retrieval.writing import Making, write_index
from wristmir_ray.search import Mode, search

EXAMS, DIM = 500, 24


def _vectors(rng: np.random.Generator) -> dict[Region, np.ndarray]:
    out = {}
    for region in Region:
        raw = rng.normal(size=(EXAMS, DIM)).astype(np.float32)
        raw[100:140] = raw[100]  # exact ties
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
        raw[rng.random(EXAMS) < 0.1] = np.nan
        out[region] = raw
    return out


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[Region, np.ndarray], pa.Table]:
    root = str(tmp_path_factory.mktemp("index"))
    rng = np.random.default_rng(0)
    vectors = _vectors(rng)
    exams = {
        "exam_id": [f"{i:032x}" for i in range(EXAMS)],
        "patient_id": [f"p{i // 2}" for i in range(EXAMS)],
        "laterality": pa.array(rng.choice(["left", "right"], EXAMS)),
        "view": ["pa"] * EXAMS,
        "split": ["test"] * EXAMS,
        "age_years": pa.array(rng.uniform(2, 17, EXAMS), pa.float32()),
        "sex": ["female"] * EXAMS,
        "study_date": [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(EXAMS)],
    }
    for region in Region:
        exams |= {f"{region.value}_box": [[1.0, 2.0, 3.0, 4.0]] * EXAMS}
        exams |= {f"{region.value}_{c}": pa.nulls(EXAMS, pa.string()) for c in ("caption", "presence", "healing")}
        exams |= {f"{region.value}_fracture_type": pa.array(rng.choice(["buckle", "transverse"], EXAMS))}
    table = pa.table(exams)
    names = write_index(storage.run_uri(root, "index", "i1"), table, vectors, Making("digest-of-encoder"))
    storage.publish(root, storage.Manifest("index", "i1", "test", EXAMS, files=names))
    return root, vectors, table


@given(
    st.integers(0, 2**32),
    st.sampled_from(list(Mode)),
    st.sampled_from([None, Side.LEFT]),
    st.sampled_from([None, 4.0, 16.5]),
    st.integers(1, 300),
)
def test_every_search_equals_the_plain_one(
    world: tuple[str, dict[Region, np.ndarray], pa.Table],
    seed: int,
    mode: Mode,
    side: Side | None,
    age_min: float | None,
    pool: int,
) -> None:
    """FAISS gives the shortlist, filters the mask: the result is that of a scan over all rows."""
    root, vectors, exams = world
    rng = np.random.default_rng(seed)
    query = {r: v / np.linalg.norm(v) for r in Region for v in [rng.normal(size=DIM).astype(np.float32)]}
    if seed % 3 == 0:  # rows 100 to 139 tie
        tied = vectors[Region.WRIST][100:140]
        query[Region.WRIST] = tied[~np.isnan(tied[:, 0])][0]
    bone = Region.DISTAL_ULNA
    request = SearchRequest(bone, mode, pool, 10, query, filters=Filters(laterality=side, age_min_years=age_min))
    answer = _index(root).search(request)
    allowed = np.ones(EXAMS, bool)
    if side:
        allowed &= np.array([s == side for s in exams["laterality"].to_pylist()])
    if age_min:
        allowed &= exams["age_years"].to_numpy() >= age_min
    plain = search(
        query[Region.WRIST],
        query[bone],
        vectors[Region.WRIST],
        vectors[bone],
        mode=mode,
        pool=pool,
        k=10,
        allowed_N=allowed,
    )
    assert [int(h.exam_id, 16) for h in answer.hits] == plain.rows.tolist()
    assert answer.gallery == allowed.sum()
    assert answer.exactness == "exact"


_OPEN: dict[str, Index] = {}


def _index(root: str) -> Index:
    return _OPEN.setdefault(root, Index.load(root))


def test_an_exam_finds_neither_itself_nor_its_patient(world: tuple[str, dict[Region, np.ndarray], pa.Table]) -> None:
    root, vectors, exams = world
    index = _index(root)
    row = int(
        np.flatnonzero(~np.isnan(vectors[Region.WRIST][:, 0]) & ~np.isnan(vectors[Region.DISTAL_RADIUS][:, 0]))[0]
    )
    exam_id = exams["exam_id"][row].as_py()
    answer = index.search(SearchRequest(Region.DISTAL_RADIUS, exam_id=exam_id, k=50))
    patient = exams["patient_id"][row].as_py()
    assert len(answer.hits) == 50
    assert all(h.exam["patient_id"] != patient for h in answer.hits)
    with pytest.raises(KeyError):
        index.search(SearchRequest(Region.DISTAL_RADIUS, exam_id="0" * 31 + "g"))


def test_a_query_exam_and_a_filter_leave_out_both_patients(
    world: tuple[str, dict[Region, np.ndarray], pa.Table],
) -> None:
    root, vectors, exams = world
    found = ~np.isnan(vectors[Region.WRIST][:, 0]) & ~np.isnan(vectors[Region.DISTAL_RADIUS][:, 0])
    row = int(np.flatnonzero(found)[0])
    asked = SearchRequest(
        Region.DISTAL_RADIUS,
        pool=EXAMS,
        k=EXAMS,
        exam_id=exams["exam_id"][row].as_py(),
        filters=Filters(exclude_patient="p77"),
    )
    patients = {h.exam["patient_id"] for h in _index(root).search(asked).hits}
    assert "p76" in patients
    assert not patients & {"p77", exams["patient_id"][row].as_py()}


@pytest.mark.parametrize("spoil", [np.zeros_like, lambda v: v * 2, lambda v: v * np.nan, lambda v: v[:-1]])
def test_a_query_that_is_no_unit_vector_is_refused(
    world: tuple[str, dict[Region, np.ndarray], pa.Table], spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    good = np.eye(DIM, dtype=np.float32)[0]
    index = _index(world[0])
    assert index.search(SearchRequest(Region.DISTAL_ULNA, vectors={Region.WRIST: good})).hits
    with pytest.raises(ValueError, match="unit norm"):
        index.search(SearchRequest(Region.DISTAL_ULNA, vectors={Region.WRIST: spoil(good)}))


def test_an_index_of_an_earlier_layout_is_named(
    world: tuple[str, dict[Region, np.ndarray], pa.Table], tmp_path: Path
) -> None:
    for run_id, files in (("oldest", ["exams.parquet"]), ("old", ["exams.parquet", "found.npy", "index.json"])):
        storage.publish(str(tmp_path), storage.Manifest("index", run_id, "test", files=files))
        folder = storage.run_uri(str(tmp_path), "index", run_id)
        storage.write_bytes(storage.join(folder, "index.json"), b'{"dim": 512, "encoder_digest": "e"}')
        with pytest.raises(NotPublished, match=f"{run_id} .*earlier layout; run jobs/build_index"):
            Index.load(str(tmp_path))


def test_another_encoder_is_refused(world: tuple[str, dict[Region, np.ndarray], pa.Table]) -> None:
    index = _index(world[0])
    index.check_encoder("digest-of-encoder")
    with pytest.raises(IndexMismatch, match="build_index"):
        index.check_encoder("another")


def test_a_missing_bone_is_no_vector(world: tuple[str, dict[Region, np.ndarray], pa.Table]) -> None:
    root, vectors, exams = world
    lost = int(np.flatnonzero(np.isnan(vectors[Region.ULNAR_STYLOID][:, 0]))[0])
    assert _index(root).vector(exams["exam_id"][lost].as_py(), Region.ULNAR_STYLOID) is None
    assert _index(root).found()[Region.ULNAR_STYLOID] == int((~np.isnan(vectors[Region.ULNAR_STYLOID][:, 0])).sum())


def test_an_unsorted_index_is_not_written(tmp_path: Path) -> None:
    exams = pa.table({"exam_id": ["b", "a"]})
    with pytest.raises(AssertionError, match="sorted"):
        write_index(str(tmp_path), exams, {r: np.zeros((2, 4), np.float32) for r in Region}, Making("d"))


def test_vectors_that_are_not_of_unit_norm_are_not_indexed(
    world: tuple[str, dict[Region, np.ndarray], pa.Table], tmp_path: Path
) -> None:
    _, vectors, exams = world
    longer = {**vectors, Region.DISTAL_ULNA: vectors[Region.DISTAL_ULNA] * np.float32(1.01)}
    with pytest.raises(ValueError, match="distal ulna vectors must have unit norm"):
        write_index(str(tmp_path), exams, longer, Making("d"))
