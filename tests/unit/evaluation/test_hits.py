"""Hits as arrays, as rows of HITS, and back."""

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.evaluation.made_up import archive
from wristmir_ray.anatomy import Region
from wristmir_ray.evaluation.archive import NO_HIT
from wristmir_ray.evaluation.hits import MODES, from_table, retrieve
from wristmir_ray.evaluation.stages import SearchQueries, explode_hits
from wristmir_ray.schemas import HITS
from wristmir_ray.search import Mode


def test_a_published_table_gives_back_what_the_search_gave() -> None:
    world = archive(missing=0.3)
    queries = world.gallery("test")
    whole = retrieve(world, queries, queries, 30, 10)
    stage = SearchQueries(lambda: world, "test", 30, 10)
    asked = [stage(batch) for batch in batches(world.exam_ids[queries], 7)]
    hits = pa.concat_tables([explode_hits(b) for b in asked])
    assert hits.schema == HITS.schema
    again = from_table(hits, world, queries, 10)
    assert any(fallback for fallback in again[Region.DISTAL_ULNA, Mode.TWO_STAGE].fallbacks)
    for key, ranking in whole.items():
        for name in ("rows", "stage1_ranks", "global_scores", "region_scores"):
            np.testing.assert_array_equal(getattr(again[key], name), getattr(ranking, name))
        assert again[key].fallbacks == ranking.fallbacks
    assert len(whole) == 3 * len(MODES)


def test_a_small_gallery_gives_fewer_hits_and_no_empty_rows() -> None:
    world = archive(exams=12)
    queries = world.gallery("test")
    searched = SearchQueries(lambda: world, "test", 20, 10)(batches(world.exam_ids[queries], 100)[0])
    hits = explode_hits(searched)
    assert hits.num_rows == len(queries) * 9 * (len(queries) - 2)
    found = from_table(hits, world, queries, 10)[Region.DISTAL_RADIUS, Mode.GLOBAL]
    assert (found.rows == NO_HIT).sum() == len(queries) * (12 - len(queries))
    assert explode_hits(searched.slice(0, 0)).num_rows == 0


def test_an_exam_that_is_not_in_the_archive_is_an_error() -> None:
    with pytest.raises(KeyError, match="1 exam"):
        archive(exams=12).positions(pa.chunked_array([["e0001", "nobody"]]))


def batches(exam_ids: np.ndarray, size: int) -> list[pa.Table]:
    table = pa.table({"query_exam_id": pa.array(exam_ids, pa.string())})
    return [table.slice(i, size) for i in range(0, table.num_rows, size)]
