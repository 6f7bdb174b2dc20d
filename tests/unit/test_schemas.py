"""Declared tables and `conform`."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.errors import SchemaError
from wristmir_ray.schemas import CAPTIONS, REPORTS, TABLES, embeddings
from wristmir_ray.tables import conform, vectors


def test_a_missing_column_becomes_null_of_the_declared_type() -> None:
    table = conform({"report_id": ["a", "b"]}, REPORTS)
    assert table.schema == REPORTS.schema
    assert table["text"].to_pylist() == [None, None]


def test_rows_and_columns_give_the_same_table() -> None:
    rows = [{"exam_id": "a", "region": "wrist"}, {"exam_id": "b", "region": "wrist", "caption": "x"}]
    columns = {"exam_id": ["a", "b"], "region": ["wrist", "wrist"], "caption": [None, "x"]}
    assert conform(rows, CAPTIONS).equals(conform(columns, CAPTIONS))


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"report_id": ["a"], "nonsense": [1]}, "nonsense"),
        ({"report_id": ["a"], "text": ["x", "y"]}, "rows"),
        ({"report_id": [1.5], "text": ["x"]}, "report_id"),
    ],
)
def test_what_is_not_declared_is_refused(columns: dict[str, list[object]], word: str) -> None:
    with pytest.raises(SchemaError, match=word):
        conform(columns, REPORTS)


def test_the_error_of_a_refused_value_does_not_quote_it() -> None:
    with pytest.raises(SchemaError) as e:
        conform({"report_id": ["a"], "text": [{"secret": "patient"}]}, REPORTS)
    assert "patient" not in str(e.value)


@given(st.integers(1, 8), st.lists(st.booleans(), min_size=1, max_size=9))
def test_vectors_come_back_as_written(dim: int, present: list[bool]) -> None:
    rows = [np.full(dim, i, np.float32) if p else None for i, p in enumerate(present)]
    keys = [str(i) for i in range(len(rows))]
    table = conform({"exam_id": keys, "region": ["wrist"] * len(rows), "embedding": rows}, embeddings(dim))
    back = vectors(table["embedding"])
    assert back.shape == (len(rows), dim)
    assert back.dtype == np.float32
    for row, got in zip(rows, back, strict=True):
        assert np.isnan(got).all() if row is None else (got == row).all()


def test_every_table_carries_the_error_columns_and_its_key() -> None:
    for table in [*TABLES.values(), embeddings(4)]:
        assert {"error", "error_stage", "error_message", *table.key} <= set(table.schema.names)


def test_the_fingerprint_tells_schemas_apart() -> None:
    assert len({t.fingerprint for t in [*TABLES.values(), embeddings(4), embeddings(8)]}) == len(TABLES) + 2
    assert pa.types.is_string(REPORTS.schema.field("text").type)
