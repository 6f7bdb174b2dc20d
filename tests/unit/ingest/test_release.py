"""The list of what a person lets through, and what it makes of rows."""

from pathlib import Path

import pyarrow as pa
import pytest

from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest.release import digest, read_release, release
from wristmir_ray.schemas import SOURCES
from wristmir_ray.tables import conform

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def test_a_list_of_ids_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "release.txt"
    file.write_bytes(f"\ufeff# looked at on 3 May\r\n\r\n{A}  # a made-up name\r\n  {B}\r\n{A}\r\n".encode())
    assert read_release(str(file)) == {A, B}
    assert read_release(None) == frozenset()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"nonsense\n", "line 1: no source_id"),
        (f"{A}\n{A[1:]}\n".encode(), "line 2: no source_id"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "release.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        read_release(str(file))
    assert "nonsense" not in str(caught.value)


def test_the_digest_is_of_what_is_listed() -> None:
    assert digest(frozenset()) == ""
    assert digest(frozenset([A, B])) == digest(frozenset([B, A])) != digest(frozenset([A]))


def test_only_what_the_gate_holds_is_let_through() -> None:
    codes = {A: "identified", B: "corrupt_image", C: "burned_in_text"}
    rows = conform(
        [
            {"source_id": k, "bits": 8, "error": v, "error_stage": "decode", "error_message": "m"}
            for k, v in codes.items()
        ],
        SOURCES,
    )
    out, lifted = release(rows, frozenset([A, B, "f" * 32]))
    assert lifted == 1
    assert out["error"].to_pylist() == [None, "corrupt_image", "burned_in_text"]
    assert out["error_message"].to_pylist() == [None, "m", "m"]
    assert out.schema == rows.schema
    assert out["bits"].to_pylist() == [8, 8, 8]
    same, none = release(rows, frozenset())
    assert (same.equals(rows), none) == (True, 0)


def test_no_rows() -> None:
    none: pa.Table = SOURCES.schema.empty_table()
    assert release(none, frozenset([A])) == (none, 0)
