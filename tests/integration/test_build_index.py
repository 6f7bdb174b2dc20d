"""Crops to embeddings to index, on a real Ray with a fake encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.fakes import DIM, FakeEncoder, fake_encoder, publish, publish_archive
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.retrieval import pipeline as retrieval
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS, embeddings
from wristmir_ray.tables import vectors

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> str:
    root = str(tmp_path_factory.mktemp("archive"))
    publish_archive(root)
    summary = retrieval.run(_config(root), fake_encoder)
    assert not summary.skipped
    return root


def _config(root: str, **settings: object) -> RetrievalConfig:
    return RetrievalConfig(root=root, ray={"progress": False}, **settings)


def _no_encoder(root: str, run_id: str) -> FakeEncoder:
    raise AssertionError("a finished run needs no model")


def test_every_found_region_has_its_vector(root: str) -> None:
    table = storage.read_table(root, embeddings(DIM))
    assert table.num_rows == 60 * 4 - 9  # every seventh of 60 exams lacks its styloid
    index = Index.load(root)
    assert len(index) == 60
    assert index.found() == {r: 51 if r is Region.ULNAR_STYLOID else 60 for r in Region}
    for row, vector in zip(table.select(["exam_id", "region"]).to_pylist(), vectors(table["embedding"]), strict=True):
        assert np.array_equal(index.vector(row["exam_id"], Region(row["region"])), vector)
    index.check_encoder("fake-encoder")


def test_hits_carry_what_a_reader_needs(root: str) -> None:
    exams = {r["exam_id"]: r for r in storage.read_table(root, EXAMS).to_pylist()}
    labels = {r["exam_id"]: r for r in storage.read_table(root, CAPTIONS).to_pylist() if r["region"] == "distal_radius"}
    query = min(exams)
    answer = Index.load(root).search(SearchRequest(Region.DISTAL_RADIUS, exam_id=query, pool=20))
    assert [h.final_rank for h in answer.hits] == list(range(1, 11))
    assert answer.gallery == sum(e["patient_id"] != exams[query]["patient_id"] for e in exams.values())
    for hit in answer.hits:
        assert hit.exam["laterality"] == exams[hit.exam_id]["laterality"]
        assert hit.exam["distal_radius_caption"] == labels[hit.exam_id]["caption"]
        assert hit.exam["distal_radius_presence"] == labels[hit.exam_id]["presence"]
        assert hit.box
        assert hit.box.width_px == 29
        assert 1 <= hit.stage1_rank <= 20


def test_the_second_build_is_a_no_op(root: str) -> None:
    before = storage.published(root, "index")
    again = retrieval.run(_config(root), _no_encoder)
    assert again.skipped
    assert again.facts["dim"] == DIM
    assert storage.published(root, "index") == before


def test_new_captions_are_a_new_index_over_the_same_embeddings(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    publish_archive(root, exams=12)
    first = retrieval.run(_config(root), fake_encoder)
    publish(root, CAPTIONS, storage.read_table(root, CAPTIONS), "r2")
    second = retrieval.run(_config(root), fake_encoder)
    assert second.runs["embeddings"] == first.runs["embeddings"]
    assert second.runs["index"] != first.runs["index"]
    assert not second.skipped
    assert Index.load(root, first.runs["index"]).exams.equals(Index.load(root).exams)


def _publish_without(root: str, gone: list[str], run_id: str) -> None:
    for table in (EXAMS, REGIONS, CROPS, CAPTIONS):
        rows = storage.read_table(root, table, "r1", good_only=False)
        publish(root, table, rows.filter(pc.invert(pc.is_in(rows["exam_id"], value_set=pa.array(gone)))), run_id)


def test_what_changed_in_an_archive_is_one_more_segment_until_it_is_compacted(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    ids = publish_archive(root, exams=20)
    _publish_without(root, ids[17:], "r0")
    first = retrieval.run(_config(root, max_dead_share=0.3), fake_encoder)
    assert (first.facts["exams"], first.facts["segments"]) == (17, 1)
    _publish_without(root, ids[:2], "r2")
    second = retrieval.run(_config(root, max_dead_share=0.3), fake_encoder)
    assert (second.facts["exams"], second.facts["segments"], second.facts["dead_rows"]) == (18, 2, 2)
    grown = Index.load(root)
    assert [len(s.ids) for s in grown.segments] == [17, 3]
    whole = retrieval.run(_config(root, update=False, index={"kind": "exact"}), fake_encoder)
    assert whole.facts["segments"] == 1
    anew = Index.load(root)
    for exam_id in ids[2:]:
        asked = SearchRequest(Region.DISTAL_RADIUS, exam_id=exam_id, pool=9)
        found, expected = grown.search(asked), anew.search(asked)
        assert [(h.exam_id, h.region_score) for h in found.hits] == [(h.exam_id, h.region_score) for h in expected.hits]
    storage.point_to(root, "index", second.runs["index"])
    compacted = retrieval.run(_config(root, compact=True), _no_encoder)
    assert (compacted.facts["segments"], compacted.facts["dead_rows"], compacted.rows) == (1, 0, 18)
    assert retrieval.run(_config(root, compact=True), _no_encoder).skipped
    again = retrieval.run(_config(root), _no_encoder)
    assert again.skipped
    assert again.runs["index"] == compacted.runs["index"], "a build does not undo a compaction"


def test_a_build_that_was_overtaken_by_one_of_newer_tables_publishes_no_index(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    ids = publish_archive(root, exams=12)
    begun: list[Any] = []

    def overtaken(place: str, run_id: str) -> FakeEncoder:
        if not begun:
            begun.append(True)
            _publish_without(root, ids[:2], "r2")
            begun.append(retrieval.run(_config(root), fake_encoder).runs["index"])
        return fake_encoder(place, run_id)

    with pytest.raises(ConfigError, match="another build has published"):
        retrieval.run(_config(root), overtaken)
    current = storage.published(root, "index")
    assert current.run_id == begun[1]
    assert storage.published(root, "embeddings").run_id == current.inputs["embeddings"]
    assert len(Index.load(root)) == 10
    assert retrieval.run(_config(root), _no_encoder).skipped


def test_a_bad_crop_is_a_reject_and_its_exam_stays(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    ids = publish_archive(root, exams=12)
    crops = storage.read_table(root, CROPS, good_only=False)
    at = [
        i for i, c in enumerate(crops.to_pylist()) if (c["exam_id"], c["region"]) == (ids[3], Region.DISTAL_ULNA.value)
    ]
    pngs = crops["png"].to_pylist()
    pngs[at[0]] = b"no picture"
    publish(root, CROPS, crops.set_column(crops.schema.get_field_index("png"), crops.schema.field("png"), [pngs]), "r2")
    summary = retrieval.run(_config(root), fake_encoder)
    assert summary.rejects == {"corrupt_image": 1}
    index = Index.load(root)
    assert index.vector(ids[3], Region.DISTAL_ULNA) is None
    assert index.vector(ids[3], Region.DISTAL_RADIUS) is not None
    asked = SearchRequest(Region.DISTAL_ULNA, exam_id=ids[3], pool=5, k=5)
    assert index.search(asked).fallback == "query_region_not_found"


def test_an_archive_without_reports_can_be_searched(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    ids = publish_archive(root, exams=8)
    storage.delete_tree(storage.join(root, CAPTIONS.name))
    retrieval.run(_config(root), fake_encoder)
    hit = Index.load(root).search(SearchRequest(Region.WRIST, exam_id=ids[0])).hits[0]
    assert hit.exam["wrist_caption"] is None


def test_only_the_asked_splits_are_found(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    publish_archive(root, exams=30)
    retrieval.run(_config(root, splits=["test"]), fake_encoder)
    index = Index.load(root)
    assert set(index.exams["split"].to_pylist()) == {"test"}
    expected = storage.read_table(root, EXAMS)["split"].to_pylist().count("test")
    assert len(index) == expected


def test_what_is_missing_is_named_before_any_work(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    with pytest.raises(NotPublished, match="'exams'"):
        retrieval.run(_config(root), _no_encoder)
    publish_archive(root, exams=8)
    publish(root, CROPS, storage.read_table(root, CROPS).slice(0, 0), "none")
    with pytest.raises(ConfigError, match="nothing to index"):
        retrieval.run(_config(root), fake_encoder)
