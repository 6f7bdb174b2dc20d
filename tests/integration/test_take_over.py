"""A grown archive: what an earlier run of the same kind has done is taken over, and the tables are whole."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.fault.preprocess_job import EXAMS_COUNT, images, preprocess, publish
from tests.integration.mining_world import common, findings, http
from tests.integration.test_mine_reports import publish as publish_table
from tests.scripted_endpoint import Script, report, scripted_endpoint
from wristmir_ray import keys, storage
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.pipeline import mine
from wristmir_ray.schemas import CROPS, EXAMS, FINDINGS, REGIONS, REPORTS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

OLD = EXAMS_COUNT - 40


def publish_exams(root: str, run_id: str, rows: pa.Table) -> None:
    publish_table(Path(root), EXAMS, rows.to_pylist(), run_id)


@pytest.fixture
def exams(tmp_path: Path) -> tuple[str, pa.Table]:
    """A root with two detectors, and the EXAMS of all images; one image is gone."""
    root = str(tmp_path / "grown")
    (tmp_path / "images").mkdir()
    for name, data in images().items():
        (tmp_path / "images" / name).write_bytes(data)
    publish(root, str(tmp_path / "images"))
    return root, storage.read_table(root, EXAMS)


def test_only_new_and_changed_exams_are_preprocessed(exams: tuple[str, pa.Table], tmp_path: Path) -> None:
    root, everything = exams
    gone = everything["source_uri"].to_pylist()[3]
    away = Path(gone).rename(tmp_path / "away.png")
    publish_exams(root, "old", everything.slice(0, OLD))
    unreadable = [u for u in everything["source_uri"].to_pylist()[:OLD] if u == gone]
    first = preprocess(root, tmp_path / "first")
    assert first.rejects["source_unreadable"] == 4 * len(unreadable)

    away.rename(gone)
    changed = everything["source_id"].to_pylist()
    changed[7] = "another content"
    sides = [*everything["laterality"].to_pylist()[:-1], None]
    sides[9] = "left"
    splits = ["test" if i == 11 else s for i, s in enumerate(everything["split"].to_pylist())]
    now = everything.set_column(0, "source_id", pa.array(changed))
    for name, values in (("laterality", sides), ("split", splits)):
        now = now.set_column(now.column_names.index(name), name, pa.array(values, pa.string()))
    dropped = now.filter(pc.not_equal(now["exam_id"], "e0013"))
    publish_exams(root, "now", dropped)
    grown = preprocess(root, tmp_path / "second")
    new = EXAMS_COUNT - OLD
    asked_again = len(unreadable) + len({7, 9})
    assert (tmp_path / "second").stat().st_size == new + asked_again
    assert grown.facts["taken_over"] == OLD - asked_again - 1
    assert grown.facts["taken_from"] == first.runs["crops"]
    assert grown.resumed_rows == 0

    whole = str(tmp_path / "whole")
    publish(whole, str(tmp_path / "images"))
    publish_exams(whole, "now", dropped)
    assert "taken_over" not in preprocess(whole, tmp_path / "third").facts
    for table in (REGIONS, CROPS):
        assert storage.read_table(root, table, good_only=False).equals(
            storage.read_table(whole, table, good_only=False)
        )


def test_runs_of_one_kind_differ_in_their_inputs_alone(exams: tuple[str, pa.Table]) -> None:
    from wristmir_ray.preprocess.config import PreprocessConfig, RegionConfig
    from wristmir_ray.tablerun import TableRun
    from wristmir_ray.takeover import find_earlier

    root, _ = exams
    config = PreprocessConfig(root=root)
    kinds = {
        TableRun("preprocess", config, settings, code, inputs, {"roi_detector": model}).kind
        for settings, code, inputs, model in (
            ({"regions": RegionConfig().model_dump(mode="json")}, "c", {"exams": "a"}, "m"),
            ({"regions": RegionConfig().model_dump(mode="json")}, "c", {"exams": "b"}, "m"),
            ({"regions": RegionConfig(crop_size=64).model_dump(mode="json")}, "c", {"exams": "a"}, "m"),
            ({"regions": RegionConfig().model_dump(mode="json")}, "d", {"exams": "a"}, "m"),
            ({"regions": RegionConfig().model_dump(mode="json")}, "c", {"exams": "a"}, "n"),
        )
    }
    assert len(kinds) == 4, "inputs alone make no other kind"
    assert all(find_earlier(root, REGIONS.name, kind, "x") is None for kind in kinds)


@pytest.fixture
def endpoint() -> Iterator[tuple[str, Script]]:
    with scripted_endpoint(slow_s=5.0) as found:
        yield found


def publish_reports(root: Path, texts: list[str], run_id: str) -> None:
    publish_table(root, REPORTS, [{"report_id": keys.report_id(t), "text": t} for t in texts], run_id)


def test_a_model_is_asked_for_new_reports_alone(tmp_path: Path, endpoint: tuple[str, Script]) -> None:
    url, script = endpoint
    old = [report(n, word) for n, word in enumerate(["", "mend", "enum", "down", ""])]
    publish_reports(tmp_path, old, "old")
    config = MiningConfig(**common(tmp_path, engine="http", http=http(url)))
    mine(config)
    before = findings(tmp_path)
    script.asked.clear()

    new = [report(n) for n in range(5, 9)]
    publish_reports(tmp_path, [*old[:-1], *new], "now")
    grown = mine(config)
    asked = {text for text in script.asked if any(t in text for t in old)}
    assert all("down" in text for text in asked), "what had no answer is asked again, and nothing else"
    assert sum(any(t in text for t in new) for text in script.asked) == len(new)
    rows = findings(tmp_path)
    assert rows.keys() == {keys.report_id(t) for t in [*old[:-1], *new]}
    answered = {keys.report_id(t) for t in old[:3]}
    assert {i: rows[i] for i in answered} == {i: before[i] for i in answered}
    assert grown.facts["taken_over"] == 3


def test_rules_read_new_reports_alone_and_the_table_is_the_same(tmp_path: Path) -> None:
    texts = [report(n) for n in range(40)]
    for root, runs in (("grown", (texts[:25], texts)), ("whole", (texts,))):
        for i, part in enumerate(runs):
            publish_reports(tmp_path / root, part, f"r{i}")
            done = mine(MiningConfig(**common(tmp_path / root)))
        assert done.facts.get("taken_over") == (25 if root == "grown" else None)
    both = [storage.read_table(str(tmp_path / root), FINDINGS, good_only=False) for root in ("grown", "whole")]
    assert both[0].equals(both[1])
