"""`jobs/audit_reports.py` on a real local Ray: AUDIT, the sheet, marks, the second run."""

import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.scripted_endpoint import report, scripted_endpoint
from wristmir_ray import keys, storage
from wristmir_ray.audit.config import AuditConfig
from wristmir_ray.audit.pipeline import run
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.mining.config import HttpConfig, MiningConfig
from wristmir_ray.mining.pipeline import run as mine_and_caption
from wristmir_ray.mining.stages import explode_captions, mine_reports, pack_records, write_captions
from wristmir_ray.phantom.population import sample_cases
from wristmir_ray.phantom.reports import write_report
from wristmir_ray.schemas import AUDIT, CAPTIONS, EXAMS, FINDINGS, REPORTS
from wristmir_ray.tables import Table, conform

pytestmark = pytest.mark.ray
JOB = Path(__file__).parents[2] / "jobs" / "audit_reports.py"
CHEST = "CHEST, PA VIEW. Clear lungs."
SWAPPED = 0
"""Index of the exam whose metadata names the other side."""


def publish(root: Path, table: Table, rows: list[dict[str, Any]], inputs: Mapping[str, str] | None = None) -> None:
    """Publish a table as run r1."""
    data = conform(sorted(rows, key=lambda r: str(r[table.key[0]])), table)
    storage.write_parquet(data, storage.join(storage.run_uri(str(root), table.name, "r1"), "part.parquet"), 64)
    made = {"rows": len(rows), "schema": table.fingerprint, "files": ["part.parquet"], "inputs": dict(inputs or {})}
    storage.publish(str(root), storage.Manifest(table.name, "r1", "test", **made))


def publish_archive(root: Path, texts: list[str], sides: list[str]) -> list[str]:
    ids = [keys.report_id(t) for t in texts]
    publish(root, REPORTS, [{"report_id": i, "text": t} for i, t in zip(ids, texts, strict=True)])
    exam = {"view": "pa", "split": "train"}
    exams = [
        {"source_id": f"s{k}", "exam_id": f"e{k}", "report_id": i, "laterality": side, **exam}
        for k, (i, side) in enumerate(zip(ids, sides, strict=True))
    ]
    unreported = {"source_id": "su", "exam_id": "eu", "report_id": None, "laterality": "left", **exam}
    rejected = {"source_id": "sx", "exam_id": None, "error": "empty_file", "error_stage": "decode", "error_message": ""}
    publish(root, EXAMS, [*exams, unreported, rejected])
    return ids


def mine_here(root: Path) -> None:
    """Publish what the mining job makes of the archive, stage by stage without its two Ray runs."""
    reports, exams = (storage.read_table(str(root), t) for t in (REPORTS, EXAMS))
    findings = mine_reports(reports, engine="rules", version="v1")
    packed = {r["report_id"]: r for r in pack_records(findings).to_pylist()}
    none = {"record": None, "mined": None}
    captioned = write_captions(pa.Table.from_pylist([r | packed.get(r["report_id"], none) for r in exams.to_pylist()]))
    publish(root, FINDINGS, findings.to_pylist())
    publish(root, CAPTIONS, explode_captions(captioned).to_pylist(), inputs={FINDINGS.name: "r1"})


def audit_config(root: Path, **changes: Any) -> AuditConfig:
    common = {"max_reject_share": 1.0, "join_partitions": 2, "ray": {"progress": False}, "sample": 8}
    return AuditConfig(root=str(root), **{**common, **changes})


def mining_config(root: Path, **changes: Any) -> MiningConfig:
    return MiningConfig(root=str(root), max_reject_share=1.0, join_partitions=2, ray={"progress": False}, **changes)


def rows(root: Path) -> dict[str, dict[str, Any]]:
    return {r["report_id"]: r for r in storage.read_table(str(root), AUDIT, good_only=False).to_pylist()}


def file(root: Path, name: str, inside: str) -> str:
    folder = storage.run_uri(str(root), name, storage.published(str(root), name).run_id)
    return storage.read_bytes(storage.join(folder, inside)).decode()


@pytest.fixture(scope="module")
def archive(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom reports mined by rules, one of another body part, one exam with the wrong side, one without a report."""
    root = tmp_path_factory.mktemp("audited")
    cases = sample_cases(8, 14)
    texts = [write_report(c, "open", np.random.default_rng((8, c.index))).text for c in cases]
    texts[SWAPPED] = "Left wrist. FINDINGS: Buckle fracture of the distal radius. The ulna is intact."
    sides = ["right", *(c.side.value for c in cases[1:])]
    publish_archive(root, [*texts, CHEST], [*sides, "left"])
    mine_here(root)
    run(audit_config(root))
    return root


def test_an_exam_without_a_report_is_left_out(archive: Path) -> None:
    exams = storage.read_table(str(archive), EXAMS).to_pylist()
    reported = {e["report_id"] for e in exams if e["report_id"] is not None}
    assert len(exams) == len(reported) + 1
    assert set(rows(archive)) == reported


def test_every_report_is_a_row_and_the_second_run_does_nothing(archive: Path) -> None:
    found = rows(archive)
    assert len(found) == 15
    assert found[keys.report_id(CHEST)]["error"] == "not_a_wrist_report"
    swapped = next(r for r in found.values() if r["error"] is None and not r["trusted"])
    kinds = {(c["field"], c["kind"]) for c in swapped["conflicts"]}
    assert kinds == {("side", "metadata")}, "mining gave the exam no caption that could say the other side"
    assert sum(bool(r["trusted"]) for r in found.values()) == 13

    again = run(audit_config(archive))
    assert again.skipped
    assert again.rows == 15
    assert rows(archive) == found


def test_the_sheet_and_its_page(archive: Path) -> None:
    html = file(archive, "audit_sheet", "sheet.html")
    assert html.count("<article") == 8
    page = file(archive, "audit_sheet", "audit.md")
    assert "zero by construction" in page
    assert "| all |" in page
    figures = json.loads(file(archive, "audit_sheet", "figures.json"))
    assert (figures["reports"], figures["rejected"], figures["ungrounded_share"]) == (15, 1, 0.0)
    seeded = figures["fabrications"]
    hard = {kind: f["not_certain"] for kind, f in seeded.items()}
    assert {k: f["caught"] for k, f in seeded.items()} == {k: f["n"] for k, f in seeded.items()}
    assert {k for k, f in hard.items() if not f["n"]} == {"invented_quote", "shifted_span"}
    assert 30 <= hard["all"]["n"] < seeded["all"]["n"]
    assert {k: f for k, f in hard.items() if f["caught"] < f["n"]} == {}
    assert "these records being its own" in page
    assert f"not certain: **{100 * hard['all']['value']:.1f} % [" in page
    assert run(audit_config(archive)).facts["fabrications_caught"] == hard["all"]["value"]
    assert figures["report_kinds"]["side.metadata"] == 1
    for name in ("audit.md", "figures.json", "manifest.json"):
        assert "wrist." not in file(archive, "audit_sheet", name), "no report text outside the sheet"


def marks_of(archive: Path, verdict: str = "right") -> dict[str, Any]:
    """What a person downloads who marks every value of the sheet so."""
    html = file(archive, "audit_sheet", "sheet.html")
    marks = []
    for card in html.split("<article")[1:]:
        report_id = re.search(r'data-report="(\w+)"', card)
        assert report_id is not None
        values = re.findall(r'data-finding="(-?\d+)" data-field="(\w+)"', card)
        marks += [{"report_id": report_id[1], "finding": int(i), "field": f, "mark": verdict} for i, f in values]
    run_id = re.search(r'data-audit="(\w+)"', html)
    assert run_id is not None
    return {"audit": run_id[1], "marks": marks}


def test_marks_come_back(archive: Path, tmp_path: Path) -> None:
    given = marks_of(archive)
    given["marks"][0]["mark"] = "hallucinated"
    path = tmp_path / "marks.json"
    path.write_text(json.dumps(given))
    summary = run(audit_config(archive, marks=str(path)))
    assert summary.facts["values_marked"] == len(given["marks"])
    figures = json.loads(file(archive, "audit_marks", "figures.json"))
    assert figures["all"]["hallucinated"] == 1
    assert figures["all"]["rate"]["low"] < 1 / len(given["marks"]) < figures["all"]["rate"]["high"]
    assert figures["curve"][-1]["coverage"] == 1.0
    assert "accuracy_coverage.svg" in file(archive, "audit_marks", "audit.md")
    assert file(archive, "audit_marks", "accuracy_coverage.svg").startswith("<?xml")
    first = storage.published(str(archive), "audit_marks")
    again = run(audit_config(archive, marks=str(path)))
    assert again.skipped
    assert storage.published(str(archive), "audit_marks") == first


def test_marks_of_something_else_are_refused(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    given = marks_of(archive)
    path.write_text(json.dumps({**given, "audit": "0" * 20}))
    with pytest.raises(ConfigError, match="of audit run 0"):
        run(audit_config(archive, marks=str(path)))
    given["marks"][0]["finding"] = 40
    path.write_text(json.dumps(given))
    with pytest.raises(ConfigError, match="1 of"):
        run(audit_config(archive, marks=str(path)))


@pytest.mark.slow  # three Ray runs; that a lie is doubted, test_checks shows
def test_a_models_lies_are_found_in_what_the_mining_job_made(local_ray: None, tmp_path: Path) -> None:
    texts = [*(report(n) for n in range(6)), report(6, "lie"), report(7, "prose")]
    ids = publish_archive(tmp_path, texts, ["left"] * len(texts))
    with scripted_endpoint() as (url, _):
        http = HttpConfig(url=url, model="scripted", retries=0, backoff_s=0.01)
        mine_and_caption(mining_config(tmp_path, engine="http", http=http))
        run(audit_config(tmp_path))
    found = rows(tmp_path)
    lie = found[ids[6]]
    assert {(c["finding"], c["field"], c["kind"]) for c in lie["conflicts"]} == {(0, "healing", "ungrounded")}
    assert (lie["quotes_lost"], lie["rules_disagree"], lie["trusted"]) == (1, ["healing"], False)
    assert found[ids[7]]["error"] == "invalid_record"
    assert all(found[i]["trusted"] for i in ids[:6])
    assert "zero by construction" not in file(tmp_path, "audit_sheet", "audit.md")


def test_captions_of_other_findings_are_refused(tmp_path: Path) -> None:
    for table in (REPORTS, EXAMS, FINDINGS):
        publish(tmp_path, table, [])
    publish(tmp_path, CAPTIONS, [], inputs={FINDINGS.name: "r0"})
    with pytest.raises(ConfigError, match="run mine_reports again"):
        run(audit_config(tmp_path))


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_reports", JOB)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_findings_nothing_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotPublished, match="findings"):
        run(audit_config(tmp_path))
    assert program().main(["--root", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_file_of_marks_is_one_line(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program().main(["--root", str(archive), "--marks", str(archive / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
