"""Published tables to figures and hits; the index is built by a real Ray with a fake encoder."""

import json
from pathlib import Path

import pytest

from tests.fakes import fake_encoder, publish_archive
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, IndexMismatch, NotPublished
from wristmir_ray.evaluation import pipeline as evaluation
from wristmir_ray.evaluation.config import EvaluationConfig
from wristmir_ray.retrieval import pipeline as retrieval
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.schemas import HITS
from wristmir_ray.search import Mode

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> str:
    root = str(tmp_path_factory.mktemp("archive"))
    publish_archive(root)
    retrieval.run(RetrievalConfig(root=root, ray={"progress": False}, splits=["test"]), fake_encoder)
    return root


def _config(root: str, **settings: object) -> EvaluationConfig:
    return EvaluationConfig(root=root, pool=10, resamples=100, shuffles=20, **settings)


def test_evaluation_publishes_hits_and_tables_once(root: str) -> None:
    first = evaluation.run(_config(root), fake_encoder)
    hits = storage.read_table(root, HITS)
    queries = first.facts["queries"]
    assert hits.num_rows == first.rows == queries * 3 * 3 * 10
    assert hits["fallback"].drop_null().unique().to_pylist() == ["query_region_not_found"]
    folder = storage.run_uri(root, "evaluation", first.runs["evaluation"])
    figures = json.loads(storage.read_bytes(storage.join(folder, "metrics.json")))
    assert set(figures["regions"]) == {"distal_radius", "distal_ulna", "ulnar_styloid"}
    page = storage.read_bytes(first.facts["tables"]).decode()
    assert figures == {name: value for name, value in first.facts.items() if name != "tables"}
    assert f"pool 10: pool / gallery {figures['pool_share']}" in page
    again = evaluation.run(_config(root), fake_encoder)
    assert again.skipped
    assert again.facts == first.facts


def test_hits_are_those_that_the_index_gives(root: str) -> None:
    """Evaluated and served retrieval are one: same hits, ranks and scores."""
    evaluation.run(_config(root), fake_encoder)
    rows = storage.read_table(root, HITS).to_pylist()
    index = Index.load(root)  # of the test split alone: the same gallery
    found: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    for row in rows:
        found.setdefault((row["query_exam_id"], row["region"], row["mode"]), []).append(row)
    for (query, region, mode), hits in found.items():
        asked = SearchRequest(Region(region), Mode(mode), pool=10, k=10, exam_id=query)
        answer = index.search(asked)
        for name in ("exam_id", "final_rank", "stage1_rank", "global_score", "region_score"):
            assert [h[name] for h in hits] == [getattr(h, name) for h in answer.hits]
        assert {h["fallback"] for h in hits} == {answer.fallback}
    assert len(found) == 9 * len(index)


def test_another_setting_is_another_run_and_a_seed_repeats(root: str) -> None:
    first = evaluation.run(_config(root), fake_encoder)
    other = evaluation.run(_config(root, seed=7), fake_encoder)
    assert other.runs["evaluation"] != first.runs["evaluation"]
    radius = "distal_radius"
    assert other.facts["regions"][radius]["two_stage"] != first.facts["regions"][radius]["two_stage"]
    value = [f.facts["regions"][radius]["two_stage"]["diagnosis_f1"]["value"] for f in (first, other)]
    assert value[0] == value[1]


def test_what_a_healed_fracture_counts_as_changes_figures_not_hits(root: str) -> None:
    first, other = (
        evaluation.run(_config(root), fake_encoder),
        evaluation.run(_config(root, healed="absent"), fake_encoder),
    )
    assert other.runs["hits"] == first.runs["hits"]
    assert other.runs["evaluation"] != first.runs["evaluation"]


def test_embeddings_of_another_encoder_are_refused(root: str) -> None:
    current = storage.published(root, "encoder")
    storage.publish(root, storage.Manifest("encoder", "e2", "test"))
    try:
        with pytest.raises(IndexMismatch, match="build_index"):
            evaluation.run(_config(root), fake_encoder)
    finally:
        storage.publish(root, current)


def test_a_split_without_exams_is_named(root: str) -> None:
    with pytest.raises(ConfigError, match="split train"):
        evaluation.run(_config(root, split="train"), fake_encoder)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="'exams'"):
        evaluation.run(_config(str(tmp_path)), fake_encoder)
