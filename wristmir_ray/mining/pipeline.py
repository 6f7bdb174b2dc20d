"""REPORTS -> FINDINGS, then EXAMS x FINDINGS -> CAPTIONS.

Exams meet their reports' findings in a Ray Data join (hash-partitioned on report_id), so neither
table has to fit on one machine; a record travels through it as one string, since a join carries no
nested columns.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from ray.data import Dataset

from wristmir_ray import keys, raydata, storage
from wristmir_ray.config import PoolConfig
from wristmir_ray.errors import ConfigError
from wristmir_ray.job import Summary
from wristmir_ray.mining.attempts import OPEN, judge_answers, refuse_reports
from wristmir_ray.mining.config import MiningConfig
from wristmir_ray.mining.engines.http import AskEndpoint, check_endpoint
from wristmir_ray.mining.engines.identity import model_settings
from wristmir_ray.mining.engines.vllm import ask as ask_vllm
from wristmir_ray.mining.prompt import load_prompt
from wristmir_ray.mining.stages import explode_captions, mine_reports, pack_records, write_captions
from wristmir_ray.mining.statistics import markdown, plot, table3
from wristmir_ray.outputs import Output
from wristmir_ray.schemas import ATTEMPTS, CAPTIONED, CAPTIONS, EXAMS, FINDINGS, REPORTS
from wristmir_ray.tablerun import TableRun, run_tables
from wristmir_ray.tables import Table
from wristmir_ray.takeover import same_keys

_COUNTED = ("status", "flags", "findings", "evidence")
_TOKENS = ("tokens_in", "tokens_cached", "tokens_out")
PART_EXAMS = 25_000
"""Exams of one part of the join, at most: a worker holds a part in memory."""
_EXAM = ["source_id", "exam_id", "report_id", "laterality", "view", "split"]


def run(config: MiningConfig) -> Summary:
    """Mine all reports, caption all exams, publish `findings` and `captions`.

    Raises:
        NotPublished: there are no reports or no exams; run the ingest job first.
        ConfigError: every exam was rejected: there is nothing to caption.
    """
    started = time.monotonic()
    exams = storage.published(config.root, EXAMS.name)
    if exams.rows == sum(exams.rejects.values()):
        raise ConfigError(f"no exam under {config.root} is good; see why in the rejects of its ingest, then mine")
    findings = mine(config)
    seconds = time.monotonic() - started
    captions = caption(config)
    new = findings.rows - findings.resumed_rows - findings.facts.get("taken_over", 0)
    rate = {} if findings.skipped else {"reports_per_s": round(new / seconds, 1)}
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
    return _mine_by_rules(config) if config.engine == "rules" else _mine_by_model(config)


def _mine_by_rules(config: MiningConfig) -> Summary:
    version = keys.code_version("mining")
    job = _findings_job(config, {"engine": config.engine}, {REPORTS.name: _current(config, REPORTS)})

    def build(reports: Dataset) -> Dataset:
        stage = {"engine": config.engine, "version": version}
        return reports.map_batches(mine_reports, fn_kwargs=stage, **raydata.tasks(config.reports))  # 1:1

    return _run_findings(job, _reader(job, REPORTS, config.fragment_rows), build)


def _mine_by_model(config: MiningConfig) -> Summary:
    """Ask a language model for every report, then once more for what it got wrong.

    Two runs, each with an engine pool of its own: two pools in one would need twice the GPUs. The
    second starts no engine when there is nothing to repair.
    """
    settings = model_settings(config)
    lead = {"engine": config.engine, "model_digest": settings["model"], "prompt_version": load_prompt().version}
    first = _findings_job(config, {**settings, **lead}, {REPORTS.name: _current(config, REPORTS)}, "first_answers")
    place = raydata.tasks(config.reports)

    def ask_first(ends: ExitStack, reports: Dataset) -> Dataset:
        return _ask(reports.map_batches(refuse_reports, fn_kwargs={"lead": lead}, **place), config, lead, 1, ends)

    with ExitStack() as ends:
        build = partial(ask_first, ends)
        outputs, known = [Output(ATTEMPTS)], same_keys(config.root, ATTEMPTS, REPORTS)
        run_tables(first, _reader(first, REPORTS), build, ATTEMPTS, outputs, [ATTEMPTS.name], still_good=known)
    second = _findings_job(config, {**settings, **lead}, {ATTEMPTS.name: first.run_id})
    left = _open_rows(config, first.run_id)

    def ask_again(ends: ExitStack, answered: Dataset) -> Dataset:
        rows = _ask(answered, config, lead, 2, ends) if left else answered
        return rows.map_batches(_as_findings, **{**place, "batch_size": None})

    with ExitStack() as ends:
        return _run_findings(second, _reader(second, ATTEMPTS), partial(ask_again, ends))


def _ask(rows: Dataset, config: MiningConfig, lead: Mapping[str, str], attempt: int, ends: ExitStack) -> Dataset:
    """Ask for the open rows, pass the others on; `ends` gets what is to end with the run. ATTEMPTS -> ATTEMPTS, 1:1."""
    if config.engine == "http":
        check_endpoint(config.http)
    place = {**raydata.tasks(config.reports), "batch_size": None}  # as blocks come: waiting would delay writing
    asked = rows.map_batches(_of_status, fn_kwargs={"open_rows": True}, **place)
    asked = asked.repartition(target_num_rows_per_block=config.fragment_rows)  # a block's answers are kept together
    settled = rows.map_batches(_of_status, fn_kwargs={"open_rows": False}, **place)
    answers = ask_endpoint(asked, config) if config.engine == "http" else ask_vllm(asked, config.vllm, ends)
    judged = answers.map_batches(judge_answers, fn_kwargs={"lead": lead, "attempt": attempt}, **place)
    return settled.union(judged)


def ask_endpoint(rows: Dataset, config: MiningConfig) -> Dataset:
    """Open rows of ATTEMPTS -> ANSWERS, 1:1. A dead worker's task is asked again as a whole: its rows are a
    fragment's, or four a request at a time where those are more."""
    pool = PoolConfig(batch_size=4 * config.http.concurrency, num_cpus=0.5)
    return rows.map_batches(AskEndpoint, fn_constructor_kwargs={"config": config.http}, **raydata.actors(pool))


def _of_status(batch: pa.Table, open_rows: bool) -> pa.Table:
    is_open = pc.equal(batch["status"], OPEN)
    return batch.filter(is_open if open_rows else pc.invert(is_open))


def _as_findings(batch: pa.Table) -> pa.Table:
    return batch.select(FINDINGS.schema.names)


def _open_rows(config: MiningConfig, run_id: str) -> int:
    return int(
        storage.read_table(config.root, ATTEMPTS, run_id, ["report_id"], where=pc.field("status") == OPEN).num_rows
    )


def _current(config: MiningConfig, table: Table) -> str:
    return storage.published(config.root, table.name).run_id


def _findings_job(
    config: MiningConfig, settings: Mapping[str, Any], inputs: Mapping[str, str], job: str = "mine_reports"
) -> TableRun:
    return TableRun(job=job, config=config, settings=settings, code=keys.code_version("mining"), inputs=inputs)


def _run_findings(job: TableRun, source: Callable[[], Dataset], build: Callable[[Dataset], Dataset]) -> Summary:
    known, outputs = same_keys(job.config.root, FINDINGS, REPORTS), [Output(FINDINGS)]
    return run_tables(job, source, build, FINDINGS, outputs, [FINDINGS.name], _finding_facts, still_good=known)


def caption(config: MiningConfig) -> Summary:
    """Publish CAPTIONS: four rows an exam."""
    manifests = [storage.published(config.root, t.name) for t in (EXAMS, FINDINGS)]
    inputs = {m.name: m.run_id for m in manifests}
    parts = max(config.join_partitions, -(-manifests[0].rows // PART_EXAMS))
    job = TableRun(job="captions", config=config, settings={}, code=keys.code_version("mining"), inputs=inputs)

    def build(exams: Dataset) -> Dataset:
        records = raydata.read(config.root, FINDINGS, inputs[FINDINGS.name], good_only=False)
        packed = records.map_batches(pack_records, **raydata.tasks(config.captions))  # 1:1
        return exams.join(packed, "left_outer", parts, on=("report_id",)).map_batches(
            write_captions, **raydata.tasks(config.captions)
        )  # 1:1

    summary = run_tables(
        job,
        lambda: raydata.read(config.root, EXAMS, inputs[EXAMS.name], columns=_EXAM),
        build,
        CAPTIONED,
        [Output(CAPTIONS, explode_captions)],
        [CAPTIONS.name],
        _caption_facts,
    )
    page = _write_table3(storage.run_uri(config.root, CAPTIONS.name, job.run_id), summary.facts.get("table3"))
    return replace(summary, facts={**summary.facts, **page})


def _write_table3(folder: str, stats: Mapping[str, Any] | None) -> dict[str, str]:
    """Write the archive's Table 3 and its plot beside the captions; return where."""
    if stats is None:
        return {}
    page = storage.join(folder, "table3.md")
    if not storage.exists(page):
        storage.write_bytes(storage.join(folder, "table3.png"), plot(stats))
        storage.write_bytes(page, f"{markdown(stats)}\n\n![Table 3](table3.png)\n".encode())
    return {"table3_page": page}


def _finding_facts(fragments: pads.Dataset | None) -> dict[str, Any]:
    """Return the shares of each status and of quotes that were not found, and what the model read and wrote."""
    if fragments is None:
        return {}
    status: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    quotes = lost = 0
    for batch in fragments.to_batches(columns=[*_COUNTED, *_TOKENS]):
        status.update(batch["status"].to_pylist())
        flagged.update(pc.list_flatten(batch["flags"]).to_pylist())
        tokens.update({name: pc.sum(batch[name]).as_py() or 0 for name in _TOKENS})
        for row in batch.select(["findings", "evidence"]).to_pylist():
            starts = [e["start"] for f in row["findings"] or () for e in f["evidence"]]
            starts += [e["start"] for e in row["evidence"] or ()]
            quotes += len(starts)
            lost += sum(s < 0 for s in starts)
    shares = {f"share_{s}": round(status[s] / max(status.total(), 1), 4) for s in ("ok", "repaired", "rejected")}
    ungrounded = {"share_ungrounded": round(lost / max(quotes, 1), 4), "flags": dict(sorted(flagged.items()))}
    return {**shares, **ungrounded, **{n: t for n, t in tokens.items() if t}}


def _caption_facts(fragments: pads.Dataset | None) -> dict[str, Any]:
    return {"table3": table3(_exams(fragments))} if fragments is not None else {}


def _exams(fragments: pads.Dataset) -> Iterator[Sequence[Mapping[str, Any]]]:
    for batch in fragments.to_batches(columns=["error", "fractures"]):
        for row in batch.to_pylist():
            if row["error"] is None:
                yield row["fractures"] or []


def _reader(job: TableRun, source: Table, block_rows: int | None = None) -> Callable[[], Dataset]:
    """Return what reads an input; nothing of a block is written before the whole block is read."""
    return partial(
        raydata.read, job.config.root, source, job.inputs[source.name], good_only=False, block_rows=block_rows
    )
