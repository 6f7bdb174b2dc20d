"""Crops to embeddings to index to figures, on a real Ray with a fake encoder."""

import json
from pathlib import Path

import pytest

from tests.fakes import DIM, fake_encoder, publish_archive
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, IndexMismatch
from wristmir_ray.evaluation import pipeline as evaluation
from wristmir_ray.evaluation.config import EvaluationConfig
from wristmir_ray.retrieval import pipeline as retrieval
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.schemas import HITS, embeddings

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> str:
    root = str(tmp_path_factory.mktemp("archive"))
    publish_archive(root)
    retrieval.run(_retrieval(root), fake_encoder)
    return root


def _retrieval(root: str) -> RetrievalConfig:
    return RetrievalConfig(root=root, ray={"progress": False})


def _evaluation(root: str) -> EvaluationConfig:
    return EvaluationConfig(root=root, ray={"progress": False}, pool=10, resamples=100)


def test_every_found_region_has_its_vector(root: str) -> None:
    table = storage.read_table(root, embeddings(DIM))
    assert table.num_rows == 60 * 4 - 9  # every seventh of 60 exams lacks its styloid
    index = Index.load(root)
    assert len(index) == 60
    assert index.found() == {r: 51 if r is Region.ULNAR_STYLOID else 60 for r in Region}
    answer = index.search(SearchRequest(Region.DISTAL_RADIUS, exam_id=table["exam_id"][0].as_py(), pool=20))
    assert len(answer.hits) == 10
    assert answer.hits[0].exam["distal_radius_caption"]
    assert answer.hits[0].box


def test_the_second_build_is_a_no_op(root: str) -> None:
    before = storage.published(root, "index")
    again = retrieval.run(_retrieval(root), fake_encoder)
    assert again.skipped
    assert storage.published(root, "index") == before


def test_evaluation_publishes_hits_and_tables_once(root: str) -> None:
    first = evaluation.run(_evaluation(root), fake_encoder)
    hits = storage.read_table(root, HITS)
    queries = first.facts["queries"]
    assert hits.num_rows == first.rows == queries * 3 * 3 * 10
    assert hits["fallback"].drop_null().unique().to_pylist() == ["query_region_not_found"]
    folder = storage.run_uri(root, "evaluation", first.runs["evaluation"])
    figures = json.loads(storage.read_bytes(storage.join(folder, "metrics.json")))
    assert set(figures["regions"]) == {"distal_radius", "distal_ulna", "ulnar_styloid"}
    again = evaluation.run(_evaluation(root), fake_encoder)
    assert again.skipped
    assert again.facts == first.facts


def test_embeddings_of_another_encoder_are_refused(root: str, tmp_path: Path) -> None:
    current = storage.published(root, "encoder")
    storage.publish(root, storage.Manifest("encoder", "e2", "test"))
    try:
        with pytest.raises(IndexMismatch, match="build_index"):
            evaluation.run(_evaluation(root), fake_encoder)
    finally:
        storage.publish(root, current)


def test_a_split_without_exams_is_named(tmp_path: Path, local_ray: None) -> None:
    root = str(tmp_path)
    publish_archive(root, exams=12)
    config = RetrievalConfig(root=root, ray={"progress": False}, splits=["train"])
    retrieval.run(config, fake_encoder)
    with pytest.raises(ConfigError, match="split val"):
        evaluation.run(_evaluation(root).with_(split="val"), fake_encoder)
