"""REPORTS -> FINDINGS, then EXAMS x FINDINGS -> CAPTIONS.

Exams meet their reports' findings in a Ray Data join (hash-partitioned on report_id), so neither
table has to fit on one machine; a record travels through it as one string, since a join carries no
nested columns.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.dataset as pads
from ray.data import Dataset

from wristmir_ray import keys, raydata, storage
from wristmir_ray.job import Summary
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.stages import explode_captions, mine_reports, pack_records, write_captions
from wristmir_ray.mining.statistics import table3
from wristmir_ray.raydata import Output, TableRun, run_tables
from wristmir_ray.schemas import CAPTIONED, CAPTIONS, EXAMS, FINDINGS, REPORTS

_EXAM = ["source_id", "exam_id", "report_id", "laterality", "view", "split"]


def run(config: MiningConfig) -> Summary:
    """Mine all reports, caption all exams, publish `findings` and `captions`.

    Raises:
        NotPublished: there are no reports or no exams; run the ingest job first.
    """
    started = time.monotonic()
    storage.published(config.root, EXAMS.name)
    findings = mine(config)
    seconds = time.monotonic() - started
    captions = caption(config)
    rate = {} if findings.skipped else {"reports_per_s": round((findings.rows - findings.resumed_rows) / seconds, 1)}
    return Summary(
        job="mine_reports",
        runs={**findings.runs, **captions.runs},
        rows=findings.rows,
        rejects=findings.rejects,
        skipped=findings.skipped and captions.skipped,
        resumed_rows=findings.resumed_rows,
        max_reject_share=config.max_reject_share,
        facts={
            **rate,
            **findings.facts,
            **captions.facts,
            "captions": captions.rows,
            "caption_rejects": captions.rejects,
        },
    )


def mine(config: MiningConfig) -> Summary:
    """Publish FINDINGS: one row a report."""
    version = keys.code_version("mining")
    job = TableRun(
        job="mine_reports",
        config=config,
        settings={"engine": config.engine},
        code=version,
        inputs={REPORTS.name: storage.published(config.root, REPORTS.name).run_id},
    )

    def build(reports: Dataset) -> Dataset:
        stage = {"engine": config.engine, "version": version}
        return reports.map_batches(mine_reports, fn_kwargs=stage, **raydata.tasks(config.reports))  # 1:1

    return run_tables(
        job,
        lambda: raydata.read(config.root, REPORTS, job.inputs[REPORTS.name], good_only=False),
        build,
        FINDINGS,
        [Output(FINDINGS)],
        [FINDINGS.name],
        _finding_facts,
    )


def caption(config: MiningConfig) -> Summary:
    """Publish CAPTIONS: four rows an exam."""
    inputs = {t.name: storage.published(config.root, t.name).run_id for t in (EXAMS, FINDINGS)}
    job = TableRun(job="captions", config=config, settings={}, code=keys.code_version("mining"), inputs=inputs)

    def build(exams: Dataset) -> Dataset:
        records = raydata.read(config.root, FINDINGS, inputs[FINDINGS.name], good_only=False)
        packed = records.map_batches(pack_records, **raydata.tasks(config.captions))  # 1:1
        return exams.join(packed, "left_outer", config.join_partitions, on=("report_id",)).map_batches(
            write_captions, **raydata.tasks(config.captions)
        )  # 1:1

    return run_tables(
        job,
        lambda: raydata.read(config.root, EXAMS, inputs[EXAMS.name], columns=_EXAM),
        build,
        CAPTIONED,
        [Output(CAPTIONS, explode_captions)],
        [CAPTIONS.name],
        _caption_facts,
    )


def _finding_facts(fragments: pads.Dataset | None) -> dict[str, Any]:
    if fragments is None:
        return {}
    total = bad = quotes = lost = 0
    for batch in fragments.to_batches(columns=["error", "findings", "evidence"]):
        total += batch.num_rows
        bad += batch.num_rows - batch["error"].null_count
        for row in batch.to_pylist():
            starts = [e["start"] for f in row["findings"] or () for e in f["evidence"]]
            starts += [e["start"] for e in row["evidence"] or ()]
            quotes += len(starts)
            lost += sum(s < 0 for s in starts)
    share = {"ok": (total - bad) / total, "rejected": bad / total} if total else {}
    return {
        **{f"share_{k}": round(v, 4) for k, v in share.items()},
        "share_ungrounded": round(lost / max(quotes, 1), 4),
    }


def _caption_facts(fragments: pads.Dataset | None) -> dict[str, Any]:
    return {"table3": table3(_exams(fragments))} if fragments is not None else {}


def _exams(fragments: pads.Dataset) -> Iterator[Sequence[Mapping[str, Any]]]:
    for batch in fragments.to_batches(columns=["error", "fractures"]):
        for row in batch.to_pylist():
            if row["error"] is None:
                yield row["fractures"] or []
