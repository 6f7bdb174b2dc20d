"""Rows come back sorted, whole, range by range, whether they fit in memory or not."""

from pathlib import Path

import pyarrow as pa
import pytest

from wristmir_ray import keys, spill
from wristmir_ray.spill import Spill, key_ranges

SCHEMA = pa.schema([("id", pa.string()), ("n", pa.int64()), ("words", pa.list_(pa.string()))])


def _rows(count: int) -> list[dict[str, object]]:
    return [{"id": keys.digest(str(i % (count // 2 + 1))), "n": i, "words": ["x"] * (i % 3)} for i in range(count)]


@pytest.mark.parametrize("limit", [1, 5_000, spill.SPILL_BYTES])
@pytest.mark.parametrize("range_rows", [7, spill.RANGE_ROWS])
def test_every_row_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, range_rows: int) -> None:
    monkeypatch.setattr(spill, "SPILL_BYTES", limit)
    monkeypatch.setattr(spill, "RANGE_ROWS", range_rows)
    rows = _rows(500)
    held = Spill(str(tmp_path / "s"), SCHEMA, "id", "n")
    for start in range(0, len(rows), 13):
        held.put(pa.Table.from_pylist(rows[start : start + 13], SCHEMA))
    assert held.num_rows == len(rows)
    expected = sorted(rows, key=lambda r: (str(r["id"]), r["n"]))
    ranges = list(held.ranges())
    assert [r for t in ranges for r in t.to_pylist()] == expected
    assert held.read().to_pylist() == expected
    assert len(ranges) == len(key_ranges(500)) == (72 if range_rows == 7 else 1)
    assert bool(held.files()) == (limit < 2**20)
    assert held.read().to_pylist() == expected
    assert (tmp_path / "s").exists() == (limit < 2**20)


def test_no_rows(tmp_path: Path) -> None:
    held = Spill(str(tmp_path), SCHEMA, "id")
    assert [t.schema for t in held.ranges()] == [SCHEMA]
    assert held.num_rows == held.read().num_rows == 0
    assert held.files() == []


def test_ranges_hold_every_key_once() -> None:
    for count in (0, 1, spill.RANGE_ROWS, 10 * spill.RANGE_ROWS + 1):
        ranges = key_ranges(count)
        assert len(ranges) == max(1, -(-count // spill.RANGE_ROWS))
        for key in ("0" * 32, "7" * 32, "f" * 32, keys.digest("any")):
            assert sum(low <= key < high for low, high in ranges) == 1
