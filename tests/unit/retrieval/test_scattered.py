"""However an index is cut into shards, the answer is that of the one index, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.s3_server import BUCKET, empty_bucket
from tests.unit.retrieval.made_up import exams_of, publish, queries, vectors_of
from tests.unit.retrieval.scattering import scattered
from tests.unit.retrieval.test_partial import CONFIG as PARTIAL
from tests.unit.retrieval.test_partial import Computes, ask, request_of, shown
from wristmir_ray import storage
from wristmir_ray.anatomy import FractureType, Region, Sex, Side
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.cut import Cut
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.gallery import Gallery
from wristmir_ray.retrieval.index import Index, SearchAnswer, SearchRequest
from wristmir_ray.retrieval.layout import Description, Entry
from wristmir_ray.retrieval.pool import Progress
from wristmir_ray.retrieval.publishing import update
from wristmir_ray.retrieval.unstored import Known
from wristmir_ray.search import Mode

EXAMS = 500
CONFIGS = {
    Kind.EXACT: IndexConfig(kind=Kind.EXACT, calibration_queries=40, pool=20),
    Kind.CERTIFIED: IndexConfig(kind=Kind.CERTIFIED, codes_min_rows=40, calibration_queries=40, pool=5),
    Kind.IVF: IndexConfig(kind=Kind.IVF, probes=2, calibration_queries=40, pool=20),
    Kind.HNSW: IndexConfig(kind=Kind.HNSW, ef_search=8, calibration_queries=40, pool=20),
}
COUNTS = (2, 3, 7)
NEW, CHANGED, GONE = np.arange(340, 440), np.arange(60, 90), np.arange(100, 160, 3)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, tuple[Index, dict[int, Gallery]]]:
    """Three segments a kind, with replaced and deleted rows; each whole, and in 2, 3 and 7 shards."""
    out = {}
    for kind, config in CONFIGS.items():
        root = str(tmp_path_factory.mktemp(kind.value))
        publish(root, np.arange(340), config)
        update(root, exams_of(NEW), vectors_of(NEW))
        update(root, exams_of(CHANGED, 9), vectors_of(CHANGED, 9), delete=[f"{i:032x}" for i in GONE])
        whole = Index.load(root)
        out[kind] = whole, {n: scattered(root, whole, n)[0] for n in COUNTS}
    return out


filters = st.sampled_from(
    [
        Filters(),
        Filters(laterality=Side.LEFT, age_min_years=5.0),
        Filters(sex=Sex.OTHER),
        Filters(fracture_type=next(iter(FractureType))),
        Filters(age_min_years=16.9),
        Filters(age_min_years=30.0),
    ]
)
requests = st.fixed_dictionaries(
    {
        "region": st.sampled_from(list(Region)),
        "mode": st.sampled_from(list(Mode)),
        "pool": st.integers(1, 60),
        "k": st.integers(1, 40),
        "filters": filters,
        "one_a_patient": st.booleans(),
        "only_similar": st.booleans(),
    }
)


def answers(gallery: Gallery, request: SearchRequest) -> Any:
    """Return the answer but for its times, or the kind of error."""
    try:
        found = gallery.search(request)
    except (KeyError, ValueError) as e:
        return type(e)
    return replace(found, stage_ms={})


def check(whole: Index, shards: Gallery, request: SearchRequest, kind: Kind) -> None:
    wanted, got = answers(whole, request), answers(shards, request)
    if not isinstance(wanted, SearchAnswer):
        assert got is wanted
        return
    assert isinstance(got, SearchAnswer)
    if kind is Kind.CERTIFIED:  # whether bounds are worth it depends on how many rows one scan has
        assert {wanted.exactness, got.exactness} <= {"certified", "exact"}
        got = replace(got, exactness=wanted.exactness)
    assert got == wanted


@settings(max_examples=120)
@given(asked=requests, kind=st.sampled_from(list(Kind)), count=st.sampled_from(COUNTS), query=st.integers(-50, 439))
def test_shards_answer_as_the_whole_does(
    worlds: dict[Kind, tuple[Index, dict[int, Gallery]]], asked: dict[str, Any], kind: Kind, count: int, query: int
) -> None:
    """Negative queries are vectors of their own, one region of three left out; the others are exams, some deleted."""
    whole, by_count = worlds[kind]
    if query >= 0:
        request = SearchRequest(exam_id=f"{query:032x}", **asked)
    else:
        vectors = queries(np.random.default_rng(-query), whole)
        request = SearchRequest(
            vectors={r: v for i, (r, v) in enumerate(vectors.items()) if i % 3 != -query % 4}, **asked
        )
    check(whole, by_count[count], request, kind)


def test_no_similar_case_and_its_opposite_are_seen(worlds: dict[Kind, tuple[Index, dict[int, Gallery]]]) -> None:
    whole, by_count = worlds[Kind.EXACT]
    told = set()
    for i in range(0, 440, 3):
        request = SearchRequest(Region.DISTAL_ULNA, Mode.GLOBAL, exam_id=f"{i:032x}", only_similar=True)
        found = answers(by_count[3], request)
        assert found == answers(whole, request)
        told.add(getattr(found, "no_similar_case", None))
    assert {True, False} <= told


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), asked=requests)
def test_any_archive_in_any_number_of_shards(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, asked: dict[str, Any]
) -> None:
    """Also in more shards than it has rows, and where all rows of a shard are dead."""
    root, rng = str(tmp_path_factory.mktemp("any")), np.random.default_rng(seed)
    kind = list(Kind)[seed % 2]
    config = IndexConfig(kind=kind, codes_min_rows=4, calibration_queries=3, pool=4)
    numbers = rng.permutation(40)[: int(rng.integers(3, 30))]
    publish(root, numbers, config)
    again = rng.permutation(40)[:8]
    update(root, exams_of(again, 5), vectors_of(again, 5), delete=[f"{numbers[0]:032x}"])
    whole = Index.load(root)
    shards, _ = scattered(root, whole, count)
    check(whole, shards, SearchRequest(vectors=queries(rng, whole), **asked), kind)
    for exam in whole.exams["exam_id"].to_pylist()[:4]:
        check(whole, shards, SearchRequest(exam_id=exam, **asked), kind)
    assert (len(shards), shards.found()) == (len(whole), whole.found())


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(list(Kind))), min_size=1, max_size=6), st.integers(1, 12))
def test_every_row_is_in_one_share(segments: list[tuple[int, Kind]], shards: int) -> None:
    described = Description(4, "d", [Entry(f"i{n}", rows, 0, kind.value) for n, (rows, kind) in enumerate(segments)])
    cut = Cut.of("i", described, shards)
    assert len(cut.shares) == shards
    for n, (rows, kind) in enumerate(segments):
        held = [range(*share.rows[n]) for share in cut.shares]
        assert [row for part in held for row in part] == list(range(rows))
        holders = cut.holders(np.array([[n, row] for row in range(rows)], np.int64).reshape(-1, 2))
        assert [row in held[i] for row, i in enumerate(holders.tolist())] == [True] * rows
        if kind in {Kind.IVF, Kind.HNSW}:
            assert sum(len(part) > 0 for part in held) <= 1
        else:
            assert max(map(len, held)) - min(map(len, held)) <= 1


def test_whole_segments_are_shared_out_by_their_rows() -> None:
    described = Description(4, "d", [Entry(f"i{n}", rows, 0, "hnsw") for n, rows in enumerate((10, 70, 30, 30))])
    held = [[n for n, (start, stop) in enumerate(s.rows) if stop > start] for s in Cut.of("i", described, 2).shares]
    assert sorted(held) == [[0, 2, 3], [1]]


def test_an_approximate_segment_says_the_recall_of_the_run(
    worlds: dict[Kind, tuple[Index, dict[int, Gallery]]],
) -> None:
    whole, by_count = worlds[Kind.IVF]
    request = SearchRequest(Region.WRIST, Mode.GLOBAL, vectors=queries(np.random.default_rng(1), whole))
    recalls = [e.recall["wrist"] for e in whole.description.segments]
    assert by_count[7].search(request).exactness == f"approximate({min(recalls):.4f})"


def test_who_is_asked_for_what(tmp_path: Path) -> None:
    """An exam is looked up once; metadata come from the shards that hold hits; times are told by their names."""
    whole = publish(str(tmp_path), np.arange(60), CONFIGS[Kind.EXACT])
    gallery, shards = scattered(str(tmp_path), whole, 3)
    assert [len(s) for s in shards.shards] == [20, 20, 20]
    shards.asked.clear()
    found = gallery.search(SearchRequest(Region.DISTAL_ULNA, exam_id=f"{30:032x}", k=2))
    methods = [m for m, _ in shards.asked]
    assert methods == ["look", "candidates", "rows"]
    assert shards.asked[-1][1] == sorted({int(h.exam_id, 16) // 20 for h in found.hits})
    assert set(found.stage_ms) == {"filter", "coarse", "scatter", "merge", "rerank", "metadata"}
    shards.asked.clear()
    nobody = gallery.search(
        SearchRequest(
            Region.WRIST,
            Mode.GLOBAL,
            vectors=queries(np.random.default_rng(0), whole),
            filters=Filters(age_min_years=99),
        )
    )
    assert (nobody.hits, nobody.gallery, [m for m, _ in shards.asked]) == ([], 0, ["candidates"])


def test_a_share_holds_its_rows_alone(tmp_path: Path) -> None:
    """Also of a segment whose metadata lie in several row groups."""
    import pyarrow.parquet as pq

    root = str(tmp_path)
    whole = publish(root, np.arange(400), CONFIGS[Kind.CERTIFIED])
    file = Path(storage.run_uri(root, "index", "i1")) / "exams.parquet"
    pq.write_table(pq.read_table(file), file, row_group_size=70)
    share = Cut.of("i1", whole.description, 4).shares[2]
    (segment,) = Index.open(root, whole.run, share).segments
    assert share.rows == ((200, 300),)
    assert segment.exams.equals(whole.segments[0].exams.slice(200, 100))
    assert all(v.shape[0] == 100 for v in [*segment.vectors.values(), *segment.found.values()])
    for region in Region:
        np.testing.assert_array_equal(segment.vectors[region], whole.segments[0].vectors[region][200:300])
    codes, every = segment._codes[Region.WRIST], whole.segments[0]._codes[Region.WRIST]
    assert codes is not None
    assert every is not None
    np.testing.assert_array_equal(codes.leading, every.leading[200:300])
    assert codes.leading.base is not None, "it is mapped, not read"


def test_bounds_are_used_by_shards_too(tmp_path: Path) -> None:
    whole = publish(str(tmp_path), np.arange(900), CONFIGS[Kind.CERTIFIED])
    gallery, _ = scattered(str(tmp_path), whole, 2)
    request = SearchRequest(Region.WRIST, Mode.GLOBAL, k=3, vectors=queries(np.random.default_rng(3), whole))
    assert gallery.search(request).exactness == "certified"
    assert answers(gallery, request) == answers(whole, request)


def test_a_pool_is_computed_over_shards_as_over_one_index(tmp_path: Path) -> None:
    """An archive that stores whole wrists alone: sources come from the shards that hold them."""
    root, numbers = str(tmp_path), np.arange(60)
    full = publish(root, numbers, PARTIAL)
    bare = publish(root, numbers, PARTIAL, "i2", stored=[Region.WRIST])
    shards, _ = scattered(root, bare, 3)
    for number in (-1, -2, 12, 13, 14):
        request = request_of(full, {"query": number, "region": Region.DISTAL_ULNA, "pool": 25, "k": 25})
        known = [Known(g, 1000) for g in (bare, shards)]
        before: list[Progress | None] = [None, None]
        while True:
            found = [
                ask(g, request, Computes(full, most=9), k, before=b)
                for g, k, b in zip((bare, shards), known, before, strict=True)
            ]
            assert replace(found[0].answer, stage_ms={}) == replace(found[1].answer, stage_ms={})
            assert found[0].states == found[1].states
            before = [f.progress for f in found]
            if found[0].progress.coverage == 1:
                break
        assert shown(found[1].answer) == shown(full.search(request))


def test_from_a_bucket_a_shard_fetches_its_rows_alone(
    tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    root = f"s3://{BUCKET}/archive"
    publish(root, np.arange(300), CONFIGS[Kind.CERTIFIED])
    update(root, exams_of(np.arange(300, 305)), vectors_of(np.arange(300, 305)), delete=[f"{7:032x}"])
    whole = Index.load(root)
    copied = _bytes_below(tmp_path)
    shards, _ = scattered(root, whole, 3)
    asked: dict[str, Any] = {"region": Region.DISTAL_ULNA, "pool": 20, "k": 9}
    for request in (SearchRequest(exam_id=f"{41:032x}", **asked), SearchRequest(exam_id=f"{303:032x}", **asked)):
        check(whole, shards, request, Kind.CERTIFIED)
    more = _bytes_below(tmp_path) - copied
    assert more < copied * 1.05, "a header comes again; rows do not"
    again, _ = scattered(root, whole, 3)
    check(whole, again, SearchRequest(exam_id=f"{41:032x}", **asked), Kind.CERTIFIED)
    assert _bytes_below(tmp_path) - copied == more, "copies are used again"


def _bytes_below(folder: Path) -> int:
    """Return bytes of arrays that are by row."""
    return sum(f.stat().st_size for f in folder.rglob("*.npy") if ".axes" not in f.name)
