"""Key ranges hold every row of the fragments once, and are refused where they would be read too often."""

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wristmir_ray import outputs, storage
from wristmir_ray.outputs import KeyRange, Output, Piece, cut, row_groups, write_outputs
from wristmir_ray.schemas import REPORTS
from wristmir_ray.tables import conform


def _key(n: int) -> str:
    return f"{n:06d}"


def _write(folder: Path, name: str, numbers: list[int]) -> str:
    rows = conform({"report_id": [_key(n) for n in numbers], "text": [f"text {n}" for n in numbers]}, REPORTS)
    storage.write_parquet(rows, str(folder / name), 4)
    return str(folder / name)


def _no_ray() -> None:
    raise AssertionError("the driver can do this")


def _held(part: KeyRange, key: str) -> bool:
    return (part.first is None or key >= part.first) and (part.end is None or key < part.end)


@pytest.mark.parametrize("parts", [0, 1, 3, 100])
def test_ranges_hold_every_key_once(parts: int) -> None:
    pieces = [Piece(str(i), _key(10 * i), _key(10 * i + 12), 10) for i in range(20)]
    ranges = cut(pieces, parts)
    assert ranges
    assert len(ranges) == min(max(parts, 1), 20)
    for n in range(205):
        assert sum(_held(part, _key(n)) for part in ranges) == 1
        (part,) = (part for part in ranges if _held(part, _key(n)))
        assert {p.file for p in pieces if p.first <= _key(n) <= p.last} <= set(part.files)


def test_ranges_of_sorted_fragments_are_alike_and_read_once() -> None:
    ranges = cut([Piece(str(i), _key(10 * i), _key(10 * i + 9), 10) for i in range(64)], 8)
    assert ranges
    assert [len(part.files) for part in ranges] == [8] * 8


def test_fragments_in_random_order_are_not_read_range_by_range() -> None:
    assert cut([Piece(str(i), _key(i), _key(1000 + i), 10) for i in range(64)], 8) is None


def test_one_key_all_over_is_one_range() -> None:
    assert cut([Piece(str(i), "a", "a", 10) for i in range(9)], 4) == [KeyRange(None, None, tuple("012345678"))]


def test_a_fragment_without_a_key_is_not_cut(tmp_path: Path) -> None:
    whole = _write(tmp_path, "a.parquet", [3, 1, 2, 9, 8])
    assert row_groups([whole], "report_id") == [Piece(whole, _key(1), _key(9), 4), Piece(whole, _key(8), _key(8), 1)]
    nulls = str(tmp_path / "b.parquet")
    storage.write_parquet(pa.table({"report_id": pa.array(["a", None])}), nulls, 4)
    assert row_groups([whole, nulls], "report_id") is None
    assert row_groups([whole], "exam_id") is None


@pytest.mark.parametrize("step", [1, 7])
@pytest.mark.parametrize("range_bytes", [1, 700, outputs.RANGE_BYTES])
def test_tables_are_whole_and_sorted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int, step: int
) -> None:
    """Neighbouring fragments (step 1), and ones that each cover the whole key space (step 7); one is there twice."""
    monkeypatch.setattr(outputs, "RANGE_BYTES", range_bytes)
    numbers = list(range(70))
    parts = [numbers[10 * i : 10 * i + 10] if step == 1 else numbers[i::step] for i in range(7)]
    files = [_write(tmp_path, f"{i}.parquet", part[::-1]) for i, part in enumerate(parts)]
    files.append(_write(tmp_path, "again.parquet", parts[3]))
    loud = Output(REPORTS, partial(_with_text, "loud"))
    folders = {str(tmp_path / "plain"): Output(REPORTS), str(tmp_path / "loud"): loud}
    for (folder, _), receipts in zip(
        folders.items(), write_outputs(files, REPORTS, folders, connect=_no_ray), strict=True
    ):
        tables = [pq.read_table(f"{folder}/{r['file']}") for r in receipts]
        assert [r["num_rows"] for r in receipts] == [t.num_rows for t in tables]
        keys = sorted((t["report_id"].to_pylist() for t in tables), key=lambda part: part[0])
        assert [k for part in keys for k in part] == [_key(n) for n in numbers]
        assert ("loud" in tables[0]["text"][0].as_py()) == folder.endswith("loud")
        assert len(tables) == 1 or range_bytes <= 700
    if range_bytes == 700 and step == 1:
        assert len(tables) > 2


def _with_text(text: str, batch: pa.Table) -> pa.Table:
    return conform({"report_id": batch["report_id"], "text": [text] * batch.num_rows}, REPORTS)


def test_no_fragment_gives_an_empty_table(tmp_path: Path) -> None:
    (receipts,) = write_outputs([], REPORTS, {str(tmp_path / "t"): Output(REPORTS)}, connect=_no_ray)
    assert [r["num_rows"] for r in receipts] == [0]
