"""REPORTS, FINDINGS, EXAMS, CAPTIONS -> AUDIT and the sheet; AUDIT and marks -> the marked figures.

What belongs to one report meets in one shuffle on report_id, so that no table has to fit on one
machine; the sheet and the figures of marks are of a sample, made on the driver.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from ray.data import Dataset

from wristmir_ray import keys, raydata, storage, tablerun
from wristmir_ray.audit.archive import load_sampled, stratified
from wristmir_ray.audit.config import AuditConfig
from wristmir_ray.audit.curve import curve_svg
from wristmir_ray.audit.fabrications import Source
from wristmir_ray.audit.figures import ALL, automatic, by_rules, seed_fabrications
from wristmir_ray.audit.marks import Marks, join, load_marks, score
from wristmir_ray.audit.pages import audit_page, marks_page
from wristmir_ray.audit.passages import Passages
from wristmir_ray.audit.sample import draw
from wristmir_ray.audit.sheet import sheet, template_digest
from wristmir_ray.audit.stages import audit_report, pack_exams, pack_records, pack_texts, with_report
from wristmir_ray.audit.values import values
from wristmir_ray.errors import ConfigError
from wristmir_ray.job import Summary
from wristmir_ray.outputs import Output
from wristmir_ray.schemas import AUDIT, CAPTIONS, EXAMS, FINDINGS, REPORTS

JOB = "audit_reports"
SHEET, MARKS = "audit_sheet", "audit_marks"
SHEET_FILE, PAGE_FILE, FIGURES_FILE, CURVE_FILE = "sheet.html", "audit.md", "figures.json", "accuracy_coverage.svg"
_INPUTS = (FINDINGS, REPORTS, EXAMS, CAPTIONS)


def run(config: AuditConfig) -> Summary:
    """Check all records, publish `audit` and `audit_sheet`; with marks, publish `audit_marks` too.

    Raises:
        NotPublished: there are no reports, exams, findings or captions; run the mining job first.
        ConfigError: the captions are older than the findings, or the marks are none of this audit's.
    """
    inputs = _inputs(config.root)
    check = tablerun.TableRun(JOB, config, {}, keys.code_version("audit", "mining"), inputs)
    marks = _marks(config, inputs) if config.marks else None
    audited = audit(config, check)
    page = _sheet_run(config, check)
    done = [storage.find_run(config.root, SHEET, page.run_id)]
    published = {SHEET: done[0] or make_sheet(config, page, audited.facts)}
    if marks:
        job = _marks_run(config, check.code, *marks)
        done.append(storage.find_run(config.root, MARKS, job.run_id))
        published[MARKS] = done[1] or score_marks(config, job, marks[0])
    for name, manifest in published.items():
        storage.point_to(config.root, name, manifest.run_id)
    return Summary(
        job=JOB,
        runs={**audited.runs, **{n: m.run_id for n, m in published.items()}},
        rows=audited.rows,
        rejects=audited.rejects,
        skipped=audited.skipped and all(done),
        resumed_rows=audited.resumed_rows,
        max_reject_share=config.max_reject_share,
        facts={**_headline(published), **_pages(config.root, published)},
    )


def audit(config: AuditConfig, check: tablerun.TableRun) -> Summary:
    """Publish AUDIT: one row a report."""
    return tablerun.run_tables(
        check,
        lambda: parts(config, check.inputs),
        lambda ds: ds.groupby("report_id", num_partitions=config.join_partitions).map_groups(
            audit_report, batch_format="pyarrow", num_cpus=config.num_cpus
        ),  # N:1
        AUDIT,
        [Output(AUDIT)],
        [AUDIT.name],
        automatic,
    )


def parts(config: AuditConfig, inputs: Mapping[str, str]) -> Dataset:
    """Return texts, records and captioned exams as PARTS; exams without a report are left out."""
    root, placed = config.root, {"batch_format": "pyarrow", "num_cpus": config.num_cpus}
    texts = raydata.read(root, REPORTS, inputs[REPORTS.name], ["report_id", "text"], good_only=False)
    records = raydata.read(root, FINDINGS, inputs[FINDINGS.name], good_only=False)
    exams = raydata.read(root, EXAMS, inputs[EXAMS.name], ["exam_id", "report_id", "laterality"])
    captions = raydata.read(root, CAPTIONS, inputs[CAPTIONS.name], ["exam_id", "region", "caption", "presence"])
    reported = exams.map_batches(with_report, **placed)  # 1:0-1
    captioned = reported.join(captions, "left_outer", config.join_partitions, on=("exam_id",))
    return texts.map_batches(pack_texts, **placed).union(
        records.map_batches(pack_records, **placed), captioned.map_batches(pack_exams, **placed)
    )


def _inputs(root: str) -> dict[str, str]:
    manifests = {t.name: storage.published(root, t.name) for t in _INPUTS}
    made_from = manifests[CAPTIONS.name].inputs.get(FINDINGS.name)
    current = manifests[FINDINGS.name].run_id
    if made_from != current:
        raise ConfigError(
            f"the captions under {root} were written from findings run {made_from}, published is {current}; "
            "run mine_reports again"
        )
    return {n: m.run_id for n, m in manifests.items()}


def _marks(config: AuditConfig, inputs: Mapping[str, str]) -> tuple[Marks, storage.Manifest]:
    """Return the marks and the audit whose sheet they were given on: of these findings, maybe by older code."""
    marks = load_marks(str(config.marks))
    marked = storage.find_run(config.root, AUDIT.name, marks.audit)
    if marked is None or marked.inputs[FINDINGS.name] != inputs[FINDINGS.name]:
        raise ConfigError(
            f"the marks in {config.marks} are of audit run {marks.audit}, which is none of the published findings "
            f"(run {inputs[FINDINGS.name]}); mark the sheet of this archive's audit"
        )
    return marks, marked


def _sheet_run(config: AuditConfig, check: tablerun.TableRun) -> tablerun.TableRun:
    settings = {"sample": config.sample, "seed": config.seed, "template": template_digest()}
    return tablerun.TableRun(SHEET, config, settings, check.code, {**check.inputs, AUDIT.name: check.run_id})


def make_sheet(config: AuditConfig, page: tablerun.TableRun, automatic_part: Mapping[str, Any]) -> storage.Manifest:
    """Draw the sample, seed fabrications in it, publish the sheet and the page of figures."""
    started = time.monotonic()
    chosen = draw(stratified(config.root, page.inputs[AUDIT.name]), config.sample, config.seed)
    sampled = load_sampled(config.root, page.inputs, chosen)
    sources = [Source(Passages(s.text), s.record) for s in sampled]
    figures = {**automatic_part, "seed": config.seed, "sample": len(sampled)}
    figures["fabrications"] = seed_fabrications(sources, config.seed, own=by_rules(automatic_part))
    html = sheet(sampled, page.inputs[AUDIT.name], config.seed)
    return _publish(page, len(sampled), figures, {SHEET_FILE: html, PAGE_FILE: audit_page(figures)}, started)


def _marks_run(config: AuditConfig, code: str, marks: Marks, marked: storage.Manifest) -> tablerun.TableRun:
    settings = {"marks": keys.digest(marks.model_dump_json())}
    return tablerun.TableRun(MARKS, config, settings, code, {**marked.inputs, AUDIT.name: marks.audit})


def score_marks(config: AuditConfig, job: tablerun.TableRun, marks: Marks) -> storage.Manifest:
    """Publish what people marked, by field, and accuracy against coverage."""
    started = time.monotonic()
    ids = sorted({m.report_id for m in marks.marks})
    rows = storage.read_table(config.root, AUDIT, marks.audit, where=pc.field("report_id").isin(ids)).to_pylist()
    sampled = load_sampled(config.root, job.inputs, [r["report_id"] for r in rows])
    known = {(s.report_id, v.finding, v.field) for s in sampled for v in values(s.record)}
    weights = _weights(config.root, marks.audit, ids)
    marked = join(marks, {r["report_id"]: r for r in rows}, known, weights)
    figures = {**score(marked), "audit": marks.audit}
    files: dict[str, str | bytes] = {
        PAGE_FILE: marks_page(figures, CURVE_FILE),
        CURVE_FILE: curve_svg(figures["curve"]),
    }
    return _publish(job, len(marked), figures, files, started)


def _weights(root: str, audit_run: str, marked: list[str]) -> dict[str, float]:
    """Return how many reports of the archive each marked report stands for: its stratum's, shared equally."""
    out: dict[str, float] = {}
    for members in stratified(root, audit_run).values():
        own = set(members) & set(marked)
        out |= {r: len(members) / len(own) for r in own}
    return out


def _publish(
    run: tablerun.TableRun, rows: int, figures: Mapping[str, Any], files: Mapping[str, str | bytes], started: float
) -> storage.Manifest:
    folder = storage.run_uri(run.config.root, run.job, run.run_id)
    whole = {**files, FIGURES_FILE: json.dumps(figures, indent=1, allow_nan=False)}
    for name, content in whole.items():
        storage.write_bytes(storage.join(folder, name), content if isinstance(content, bytes) else content.encode())
    seconds = time.monotonic() - started
    manifest = run.manifest(run.job, rows=rows, files=sorted(whole), metrics=dict(figures), seconds=seconds)
    return storage.publish(run.config.root, manifest)


def _headline(published: Mapping[str, storage.Manifest]) -> dict[str, Any]:
    figures = published[SHEET].metrics
    out = {
        "values": figures["values"],
        "share_ungrounded": figures["ungrounded_share"],
        "share_trusted": figures["trusted_share"],
        "fabrications_caught": figures["fabrications"][ALL]["not_certain"]["value"],
    }
    if MARKS in published:
        every = published[MARKS].metrics["all"]
        out |= {"values_marked": every["n"], "hallucination_rate": every["rate"]["value"]}
    return out


def _pages(root: str, published: Mapping[str, storage.Manifest]) -> dict[str, str]:
    """Return where the pages lie that people open."""
    files = {SHEET: SHEET_FILE, MARKS: PAGE_FILE}
    return {n: storage.join(storage.run_uri(root, n, m.run_id), files[n]) for n, m in published.items()}
