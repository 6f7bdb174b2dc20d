"""A grown archive is read where it has grown, a changed table reads nothing, and nothing else tells the difference."""

from collections import Counter
from pathlib import Path

import pytest

from tests.integration.growing_archive import GrowingArchive
from wristmir_ray import outputs, raydata, spill, storage
from wristmir_ray.schemas import EXAMS, REPORTS, SOURCES

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture
def archive(tmp_path: Path) -> GrowingArchive:
    made = GrowingArchive(tmp_path)
    made.add(*range(12))
    made.write_tables(20)
    return made


def _facts(facts: dict[str, object]) -> tuple[object, ...]:
    return tuple(facts[name] for name in ("objects", "taken_over", "read"))


def _exams(archive: GrowingArchive, root: str) -> dict[str, dict[str, object]]:
    rows = storage.read_table(str(archive.folder / root), EXAMS, good_only=False).to_pylist()
    return {Path(r["source_uri"]).stem: r for r in rows}


def _good(archive: GrowingArchive, root: str) -> list[str]:
    return storage.read_table(str(archive.folder / root), EXAMS, columns=["source_uri"])["source_uri"].to_pylist()


def test_only_what_is_new_is_decoded(archive: GrowingArchive) -> None:
    first, decoded = archive.ingest("grown")
    assert (decoded, _facts(first.facts)) == (12, (12, 0, 12))
    archive.add(*range(12, 20))
    second, decoded = archive.ingest("grown")
    assert (decoded, _facts(second.facts)) == (8, (20, 12, 8))
    assert "taken_over: 12" in str(second)
    third, decoded = archive.ingest("grown")
    assert (third.skipped, decoded, _facts(third.facts)) == (True, 0, (20, 20, 0))
    assert third.runs == second.runs
    whole, decoded = archive.ingest("whole")
    assert decoded == 20
    assert archive.same("grown", "whole")
    assert whole.runs["exams"] == second.runs["exams"]
    assert {k: v for k, v in whole.facts.items() if k not in {"taken_over", "read"}} == {
        k: v for k, v in second.facts.items() if k not in {"taken_over", "read"}
    }
    assert not storage.list_files(str(archive.folder / "grown" / "_work"))
    assert all(r["pixel_id"] for r in _exams(archive, "grown").values() if r["error"] is None)


def test_changed_tables_are_merged_anew_and_nothing_is_decoded(archive: GrowingArchive) -> None:
    first, _ = archive.ingest("grown")
    archive.write_tables(20, age=12.0, word="break")
    second, decoded = archive.ingest("grown")
    assert (decoded, _facts(second.facts)) == (0, (12, 12, 0))
    assert second.runs["sources"] == first.runs["sources"]
    assert second.runs["exams"] != first.runs["exams"]
    rows = _exams(archive, "grown")
    assert {r["age_years"] for r in rows.values()} == {12.0}
    assert Counter(tuple(r["conflicts"]) for r in rows.values()) == {("age_years",): 6, (): 6}  # type: ignore[arg-type]
    assert second.facts["conflicts"] == {"age_years": 6}
    assert {t["text"] for t in storage.read_table(str(archive.folder / "grown"), REPORTS).to_pylist()} == {
        f"Report {n}: no break." for n in range(6)
    }
    archive.ingest("whole")
    assert archive.same("grown", "whole")


def test_what_reads_nothing_starts_no_ray(archive: GrowingArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.ingest("grown")

    def die(*_: object) -> None:
        raise AssertionError("Ray was asked for")

    with monkeypatch.context() as m:
        m.setattr(raydata, "connect", die)
        archive.write_tables(20, word="break")
        assert not archive.ingest("grown")[0].skipped
        archive.file(5).unlink()
        summary, decoded = archive.ingest("grown")
    assert (decoded, _facts(summary.facts)) == (0, (11, 11, 0))
    archive.ingest("whole")
    assert archive.same("grown", "whole")


def test_a_changed_object_is_decoded_again_and_a_vanished_one_leaves(archive: GrowingArchive) -> None:
    archive.ingest("grown")
    archive.file(3).touch()
    archive.file(4).write_bytes(archive.file(6).read_bytes()[:900])
    archive.file(5).unlink()
    summary, decoded = archive.ingest("grown")
    assert (decoded, _facts(summary.facts)) == (2, (11, 9, 2))
    rows = _exams(archive, "grown")
    assert "005" not in rows
    assert rows["004"]["error"] == "corrupt_image"
    assert storage.published(str(archive.folder / "grown"), "sources").rows == 11
    archive.ingest("whole")
    assert archive.same("grown", "whole")


def test_an_object_is_read_once_the_table_says_it_is_wanted(archive: GrowingArchive) -> None:
    archive.write_tables(20, lateral=(2, 3))
    first, decoded = archive.ingest("grown")
    assert (decoded, _facts(first.facts)) == (10, (12, 0, 10))
    before = _exams(archive, "grown")["002"]
    assert (before["error"], before["exam_id"]) == ("view_not_pa", None)
    archive.write_tables(20, lateral=(3, 7))
    second, decoded = archive.ingest("grown")
    assert (decoded, _facts(second.facts)) == (1, (12, 10, 1))
    rows = _exams(archive, "grown")
    assert rows["002"]["error"] is None
    assert (rows["007"]["error"], rows["007"]["exam_id"]) == ("view_not_pa", None)
    archive.ingest("whole")
    assert archive.same("grown", "whole", (EXAMS, REPORTS))
    archive.write_tables(20)
    third, decoded = archive.ingest("grown")
    assert (decoded, _facts(third.facts)) == (1, (12, 11, 1)), "what was read before it was unwanted is still there"


def test_other_settings_read_everything_and_the_former_ones_nothing(archive: GrowingArchive) -> None:
    first, _ = archive.ingest("grown")
    other, decoded = archive.ingest("grown", decode={"min_side_px": 33})
    assert decoded == 12
    archive.add(12)
    again, decoded = archive.ingest("grown")
    assert (decoded, again.facts["taken_over"]) == (1, 12)
    assert len({first.runs["sources"], other.runs["sources"], again.runs["sources"]}) == 3


def test_what_is_held_stays_held_and_is_released_without_being_read_again(archive: GrowingArchive) -> None:
    archive.add_held(13, 14)
    archive.write_tables(20)
    first, decoded = archive.ingest("grown")
    rows = _exams(archive, "grown")
    held = {name: row["error"] for name, row in rows.items() if row["error"]}
    assert (decoded, held) == (14, {"013": "identified", "014": "burned_in_text"})
    assert first.facts["quarantine"] == {"identified": 1, "burned_in_text": 1}
    archive.add(15, 16)
    second, decoded = archive.ingest("grown")
    assert (decoded, _facts(second.facts)) == (2, (16, 14, 2))
    rows = _exams(archive, "grown")
    assert {name: row["error"] for name, row in rows.items() if row["error"]} == held, "taken over, and held as before"
    assert not {"013", "014"} & {Path(u).stem for u in _good(archive, "grown")}

    release = archive.folder / "release.txt"
    release.write_text(f"{rows['013']['source_id']}  # an invented name\n")
    third, decoded = archive.ingest("grown", deid={"release": str(release)})
    assert (decoded, third.facts["released"], third.facts["quarantine"]["identified"]) == (0, 1, 0)
    assert third.runs["sources"] == second.runs["sources"]
    rows = _exams(archive, "grown")
    assert (rows["013"]["error"], rows["014"]["error"]) == (None, "burned_in_text")
    assert rows["013"]["report_id"] is not None
    archive.ingest("whole", deid={"release": str(release)})
    assert archive.same("grown", "whole")

    archive.file(13).touch()
    fourth, decoded = archive.ingest("grown", deid={"release": str(release)})
    assert (decoded, fourth.facts["released"]) == (1, 0), "another object has another id, and is judged again"
    assert _exams(archive, "grown")["013"]["error"] == "identified"


def test_another_gate_judges_everything_again(archive: GrowingArchive) -> None:
    archive.add_held(13, 14)
    first, _ = archive.ingest("grown")
    second, decoded = archive.ingest("grown", deid={"burned_in_text": False})
    assert decoded == 14
    assert second.facts["quarantine"] == {"identified": 1, "burned_in_text": 0}
    assert _exams(archive, "grown")["014"]["error"] is None
    assert not {*first.runs.values()} & {*second.runs.values()}
    third, decoded = archive.ingest("grown")
    assert (decoded, third.runs) == (0, first.runs)
    assert _exams(archive, "grown")["014"]["error"] == "burned_in_text"


def test_another_secret_reads_everything(archive: GrowingArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.ingest("grown")
    before = _exams(archive, "grown")["001"]
    monkeypatch.setenv("WRISTMIR_HASH_KEY", "another key of sixteen and more letters")
    _, decoded = archive.ingest("grown")
    assert decoded == 12
    after = _exams(archive, "grown")["001"]
    assert not {before[n] for n in ("patient_id", "study_id", "exam_id")} & {
        after[n] for n in ("patient_id", "study_id")
    }


def test_what_does_not_fit_in_memory_gives_the_same_tables(
    archive: GrowingArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(20)
    archive.write_tables(22)
    archive.file(20).write_bytes(archive.file(8).read_bytes())
    archive.ingest("small")
    with monkeypatch.context() as m:
        m.setattr(spill, "SPILL_BYTES", 256)
        m.setattr(spill, "RANGE_ROWS", 3)
        first, _ = archive.ingest("large")
        assert archive.same("large", "small")
        assert first.rejects == {"metadata_conflict": 1}, "one exam under two patients"
        archive.add(*range(12, 16))
        _, decoded = archive.ingest("large")
        assert decoded == 4
    archive.ingest("small")
    assert archive.same("large", "small")
    assert len(storage.published(str(archive.folder / "large"), "exams").files) > 1
    assert not storage.list_files(str(archive.folder / "large" / "_work"))


@pytest.mark.slow  # Ray's sort takes its time over many small files
def test_what_is_taken_over_is_sorted_by_ray_too(archive: GrowingArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.ingest("large")
    archive.add(*range(12, 16))
    with monkeypatch.context() as m:
        m.setattr(outputs, "DRIVER_BYTES", -1)
        m.setattr(outputs, "MOST_READ", 0)
        _, decoded = archive.ingest("large")
    archive.ingest("small")
    assert decoded == 4
    assert archive.same("large", "small")


def test_sources_hold_no_identifier(archive: GrowingArchive) -> None:
    archive.ingest("grown")
    root = str(archive.folder / "grown")
    told = str(storage.read_table(root, SOURCES, good_only=False).drop_columns("source_uri").to_pylist())
    for secret in ("P0", "A-1", "1.2.", "ANON"):
        assert secret not in told
