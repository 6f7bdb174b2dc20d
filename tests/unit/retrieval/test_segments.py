"""Segments: add, replace, delete, compact; the answers are those of one index built anew, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.retrieval.made_up import exams_of, publish, queries, stacked, vectors_of
from wristmir_ray import storage
from wristmir_ray.anatomy import Region, Sex, Side
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.retrieval import publishing
from wristmir_ray.retrieval.change import difference
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.filters import Filters
from wristmir_ray.retrieval.index import Index, SearchAnswer, SearchRequest
from wristmir_ray.retrieval.publishing import compact, publish_index, update
from wristmir_ray.retrieval.query import Prepared
from wristmir_ray.search import Mode, gather, rank

EXACT = IndexConfig(kind=Kind.EXACT, calibration_queries=4)
CERTIFIED = IndexConfig(kind=Kind.CERTIFIED, codes_min_rows=50, pool=5, calibration_queries=20)
BONE = Region.DISTAL_ULNA


def _requests(rng: np.random.Generator, index: Index) -> list[SearchRequest]:
    out = []
    for mode in Mode:
        for chosen in (Filters(), Filters(laterality=Side.LEFT, age_min_years=5.0), Filters(sex=Sex.OTHER)):
            asked = SearchRequest(BONE, mode, pool=30, k=7, vectors=queries(rng, index), filters=chosen)
            out += [asked, replace(asked, one_a_patient=True)]
    return out


def _facts(answer: SearchAnswer) -> list[object]:
    hits = [(h.exam_id, h.final_rank, h.stage1_rank, h.global_score, h.region_score, h.box) for h in answer.hits]
    return [hits, answer.fallback, answer.gallery]


def _assert_same(one: Index, other: Index, rng: np.random.Generator) -> None:
    for request in _requests(rng, one):
        assert _facts(one.search(request)) == _facts(other.search(request))
    assert (len(one), one.found()) == (len(other), other.found())
    assert one.exams.equals(other.exams)


@pytest.mark.parametrize("config", [EXACT, CERTIFIED])
def test_adding_replacing_and_deleting_is_building_anew(tmp_path: Path, config: IndexConfig) -> None:
    root, rng = str(tmp_path / "grown"), np.random.default_rng(0)
    first = publish(root, np.arange(300), config)
    new, changed, gone = np.arange(300, 360), np.arange(30, 50), np.arange(100, 130)
    update(root, exams_of(new), vectors_of(new))
    update(root, exams_of(changed, 9), vectors_of(changed, 9), delete=[f"{i:032x}" for i in gone])
    grown = Index.load(root)
    kept = np.setdiff1d(np.arange(360), np.concatenate([changed, gone]))
    import pyarrow as pa

    ids = np.argsort(np.concatenate([kept, changed]))
    folder = str(tmp_path / "anew")
    exams = pa.concat_tables([exams_of(kept), exams_of(changed, 9)]).sort_by("exam_id")
    vectors = {r: v[ids] for r, v in stacked(vectors_of(kept), vectors_of(changed, 9)).items()}
    manifest = storage.Manifest("index", "n1", "test", config={"index": config.model_dump(mode="json")})
    publish_index(folder, manifest, exams, vectors, "digest")
    assert len(grown.segments) == 3
    _assert_same(grown, Index.load(folder), rng)
    assert len(first) == 300, "a reader keeps the run it opened"
    _assert_same(first, Index.load(root, "i1"), rng)
    compact(root)
    one = Index.load(root)
    assert (len(one.segments), len(one.segments[0].ids)) == (1, len(one))
    _assert_same(one, grown, rng)
    assert compact(root).run_id == one.run.run_id, "what is compact stays"


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_the_number_of_segments_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, seed: int, parts: int
) -> None:
    root, rng = str(tmp_path_factory.mktemp("cut")), np.random.default_rng(seed)
    of = rng.integers(0, parts, 60)
    of[0] = 0
    publish(root, np.flatnonzero(of == 0), EXACT)
    for n in range(1, parts):
        chosen = np.flatnonzero(of == n)
        update(root, exams_of(chosen), vectors_of(chosen))
    whole = publish(str(tmp_path_factory.mktemp("whole")), np.arange(60), EXACT)
    _assert_same(Index.load(root), whole, rng)


def test_a_batch_gives_what_each_query_gives_alone(tmp_path: Path) -> None:
    for name, config in (("exact", EXACT), ("certified", CERTIFIED)):
        index = publish(str(tmp_path / name), np.arange(400), config)
        asked = _requests(np.random.default_rng(1), index)
        asked.append(SearchRequest(BONE, exam_id=f"{41:032x}", k=5))
        for alone, together in zip((index.search(r) for r in asked), index.search_many(asked), strict=True):
            assert _facts(alone) == _facts(together)


def test_a_difference_is_what_changed(tmp_path: Path) -> None:
    index = publish(str(tmp_path), np.arange(40), EXACT)
    exams, vectors = exams_of(np.arange(5, 44)), vectors_of(np.arange(5, 44))
    vectors[Region.WRIST][3] = -vectors[Region.WRIST][4]  # exam 8
    column = exams.schema.get_field_index("wrist_caption")
    captions: list[str | None] = [None] * 39
    captions[10] = "told"  # exam 15
    exams = exams.set_column(column, exams.schema.field(column), [captions])
    found = difference(index, exams, vectors)
    assert [int(e, 16) for e in found.exams["exam_id"].to_pylist()] == [8, 15, 40, 41, 42, 43]
    assert found.dead["i1"].tolist() == [0, 1, 2, 3, 4, 8, 15]


def test_an_index_is_not_emptied(tmp_path: Path) -> None:
    index = publish(str(tmp_path), np.arange(5), EXACT)
    with pytest.raises(ConfigError, match="no exam would be left"):
        update(str(tmp_path), index.exams.slice(0, 0), vectors_of(np.arange(0)), index.exams["exam_id"].to_pylist())
    assert len(Index.load(str(tmp_path))) == 5


def test_a_segment_that_is_gone_is_named(tmp_path: Path) -> None:
    publish(str(tmp_path), np.arange(5), EXACT)
    update(str(tmp_path), exams_of(np.arange(5, 9)), vectors_of(np.arange(5, 9)))
    storage.delete_tree(storage.run_uri(str(tmp_path), "index", "i1"))
    with pytest.raises(NotPublished, match="i1"):
        Index.load(str(tmp_path))


def test_hits_carry_the_lineage_of_their_own_exam(tmp_path: Path) -> None:
    root = str(tmp_path)
    index = publish(root, np.arange(20), EXACT)
    later = replace(index.run, run_id="i2", inputs={"captions": "c2"}, models={"bone_detector": "d2"})
    new = np.arange(20, 24)
    publish_index(root, later, exams_of(new), vectors_of(new), "digest", index)
    compact(root)
    whole = Index.load(root)
    asked = SearchRequest(BONE, Mode.GLOBAL, k=24, vectors=queries(np.random.default_rng(0), whole))
    by_run = {int(h.exam_id, 16) >= 20: h.lineage for h in whole.search(asked).hits}
    assert by_run[False] == {"encoder_digest": "digest", "captions": "c1", "index": "i1"}
    assert by_run[True] == {"encoder_digest": "digest", "captions": "c2", "bone_detector": "d2", "index": "i2"}


def test_certified_codes_are_used_and_said(tmp_path: Path) -> None:
    index = publish(str(tmp_path), np.arange(900), CERTIFIED)
    asked = SearchRequest(Region.WRIST, Mode.GLOBAL, k=5, vectors=queries(np.random.default_rng(3), index))
    assert index.search(asked).exactness == "certified"
    plain = publish(str(tmp_path / "plain"), np.arange(900), EXACT)
    assert plain.search(asked).exactness == "exact"
    assert _facts(plain.search(asked)) == _facts(index.search(asked))


def test_shards_that_hold_some_segments_each_merge_to_one_search(tmp_path: Path) -> None:
    root = str(tmp_path)
    publish(root, np.arange(0, 200, 2), CERTIFIED)
    for part in (np.arange(1, 100, 2), np.arange(101, 200, 2)):
        update(root, exams_of(part), vectors_of(part))
    whole = Index.load(root)
    cuts = [[0, 2], [1]]
    shards = [
        Index(whole.run, replace(whole.description, segments=[whole.description.segments[i] for i in cut]), segments)
        for cut in cuts
        for segments in [[whole.segments[i] for i in cut]]
    ]
    for request in _requests(np.random.default_rng(5), whole):
        prepared = Prepared.of(whole, request)
        parts = [shard.candidates(prepared)[0] for shard in shards]
        merged = gather(parts[::-1], prepared.mode, prepared.ask.wanted, prepared.ask.one_a_patient)
        ranked = rank(merged, prepared.mode, request.k, request.one_a_patient)
        hits = whole.search(request).hits
        assert [i.decode() for i in merged.ids[ranked.at]] == [h.exam_id for h in hits]
        assert ranked.stage1_ranks.tolist() == [h.stage1_rank or 0 for h in hits]


def test_dead_rows_stay_dead_whatever_a_change_says_of_others(tmp_path: Path) -> None:
    root = str(tmp_path)
    publish(root, np.arange(40), EXACT)
    update(root, exams_of(np.arange(0)), vectors_of(np.arange(0)), delete=[f"{3:032x}"])
    parent = Index.load(root)
    manifest = replace(parent.run, run_id="more", created="")
    publish_index(root, manifest, exams_of(np.arange(40, 44)), vectors_of(np.arange(40, 44)), "digest", parent)
    grown = Index.load(root)
    assert f"{3:032x}" not in grown
    assert len(grown) == 43


def test_a_leftover_of_another_try_is_no_part_of_the_run(tmp_path: Path) -> None:
    root = str(tmp_path)
    leftover = tmp_path / "index" / "runs" / "i1" / "wrist.axes.npy"
    leftover.parent.mkdir(parents=True)
    np.save(leftover, np.zeros((4, 16), np.float32))
    manifest = storage.Manifest("index", "i1", "test", config={"index": EXACT.model_dump(mode="json")})
    publish_index(root, manifest, exams_of(np.arange(40)), vectors_of(np.arange(40)), "digest")
    assert not leftover.exists()
    assert len(Index.load(root)) == 40


def test_what_is_published_while_a_change_is_written_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, real = str(tmp_path), publishing._write
    publish(root, np.arange(40), EXACT)

    def slowly(*args: Any) -> storage.Manifest:
        written = real(*args)
        monkeypatch.setattr(publishing, "_write", real)
        update(root, exams_of(np.arange(0)), vectors_of(np.arange(0)), delete=[f"{3:032x}"])
        return written

    monkeypatch.setattr(publishing, "_write", slowly)
    update(root, exams_of(np.arange(40, 44)), vectors_of(np.arange(40, 44)))
    both = Index.load(root)
    assert (len(both), f"{3:032x}" in both) == (43, False)
