"""`jobs/mine_reports.py` on a real local Ray: tables, codes, the second run, resume."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.pipeline import mine, run
from wristmir_ray.schemas import CAPTIONS, EXAMS, FINDINGS, REPORTS
from wristmir_ray.tables import Table, conform

pytestmark = pytest.mark.ray
JOB = Path(__file__).parents[2] / "jobs" / "mine_reports.py"

TEXTS = {
    "radius": "Left wrist. FINDINGS: Healing buckle fracture of the distal radius. The ulna is intact.",
    "normal": "Left wrist. No acute osseous abnormality.",
    "chest": "CHEST, PA VIEW. Clear lungs.",
    "empty": " ",
    "hedge": "Possible ulnar styloid fracture.",
}


def publish(root: Path, table: Table, rows: list[dict[str, object]], run_id: str = "r1") -> None:
    data = conform(sorted(rows, key=lambda r: str(r[table.key[0]])), table)
    storage.write_parquet(data, storage.join(storage.run_uri(str(root), table.name, run_id), "part.parquet"), 64)
    manifest = storage.Manifest(
        table.name, run_id, "test", rows=len(rows), schema=table.fingerprint, files=["part.parquet"]
    )
    storage.publish(str(root), manifest)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Five reports; two exams a good report, one without a report, one that ingest rejected."""
    ids = {name: keys.report_id(text) for name, text in TEXTS.items()}
    publish(tmp_path, REPORTS, [{"report_id": ids[n], "text": t} for n, t in TEXTS.items()])
    exams = [
        {
            "source_id": f"s{i}",
            "exam_id": f"e{i}",
            "report_id": ids[name],
            "laterality": "left",
            "view": "pa",
            "split": "train",
        }
        for i, name in enumerate([*TEXTS, *TEXTS])
    ]
    exams.append({"source_id": "sx", "exam_id": "ex", "laterality": "right", "view": "pa", "split": "test"})
    exams.append(
        {"source_id": "sy", "exam_id": None, "error": "empty_file", "error_stage": "decode", "error_message": ""}
    )
    publish(tmp_path, EXAMS, exams)
    return tmp_path


def config(root: Path, **changes: object) -> MiningConfig:
    return MiningConfig(root=str(root), max_reject_share=1.0, join_partitions=4, ray={"progress": False}, **changes)


def rows(root: Path, table: Table) -> pa.Table:
    return storage.read_table(str(root), table, good_only=False)


def test_reports_become_findings_and_captions_and_the_second_run_does_nothing(local_ray: None, archive: Path) -> None:
    summary = run(config(archive))
    assert (summary.rows, summary.rejects) == (5, {"empty_report": 1, "not_a_wrist_report": 1})
    assert summary.facts["share_ungrounded"] == 0
    assert summary.facts["table3"]["per_case"] == {"0": 4, "1": 2}
    page = Path(summary.facts["table3_page"])
    assert "| Total examinations | 6 |" in page.read_text()
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert summary.facts["caption_rejects"] == {"no_findings": 4 * 4, "no_report": 4}

    findings = rows(archive, FINDINGS)
    assert findings["report_id"].to_pylist() == sorted(findings["report_id"].to_pylist())
    captions = {(r["exam_id"], r["region"]): r for r in rows(archive, CAPTIONS).to_pylist()}
    assert len(captions) == 4 * 11
    wrist = captions["e0", "wrist"]["caption"]
    assert (
        wrist == "Left wrist X-ray (PA view) showing buckle fracture in the distal radius, currently in healing stage."
    )
    assert captions["e0", "distal_radius"]["presence"] == "present"
    assert captions["e0", "distal_ulna"]["presence"] == "absent"
    assert captions["e0", "ulnar_styloid"]["presence"] is None
    assert captions["e4", "ulnar_styloid"]["presence"] == "uncertain"
    assert captions["ex", "wrist"]["error"] == "no_report"

    assert not any("lungs" in t or "Possible" in t for t in _words_that_are_no_data(archive))

    again = run(config(archive))
    assert again.skipped
    assert rows(archive, FINDINGS).equals(findings)


def _words_that_are_no_data(root: Path) -> list[str]:
    """Return the manifests and the error messages, in which no report text may stand."""
    out = [json.dumps(rows(root, t)["error_message"].drop_null().to_pylist()) for t in (FINDINGS, CAPTIONS)]
    for name in (FINDINGS.name, CAPTIONS.name):
        folder = storage.run_uri(str(root), name, storage.published(str(root), name).run_id)
        out.append(storage.read_bytes(storage.join(folder, "manifest.json")).decode())
    return out


def test_a_killed_job_goes_on_where_it_stopped(local_ray: None, archive: Path) -> None:
    small = config(archive, fragment_rows=2)
    whole = mine(small)
    table = rows(archive, FINDINGS)
    folder = storage.run_uri(str(archive), FINDINGS.name, whole.runs["findings"])
    fragments = storage.join(str(archive), "_work", "mine_reports", whole.runs["findings"])
    storage.delete_tree(folder)
    storage.write_parquet(table.slice(0, 2), storage.join(fragments, "kept.parquet"), 64)

    resumed = mine(small)
    assert resumed.resumed_rows == 2
    assert rows(archive, FINDINGS).equals(table)


def test_without_exams_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="exams"):
        run(config(tmp_path))


def test_without_a_good_exam_the_mend_is_named(tmp_path: Path) -> None:
    publish(tmp_path, REPORTS, [{"report_id": "r", "text": TEXTS["radius"]}])
    publish(tmp_path, EXAMS, [])
    with pytest.raises(ConfigError, match="no exam"):
        run(config(tmp_path))


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mine_reports", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--engine", "oracle"], "engine"), (["--no_such_setting", "1"], "no_such_setting"), ([], "exams")],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = program().main(["--root", str(tmp_path), *arguments])
    except SystemExit as e:
        code = e.code
    assert code == 2
    assert line in capsys.readouterr().err
