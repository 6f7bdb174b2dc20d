"""Ingest's wiring: list, fetch, decode, merge, join reports, hash, publish."""

from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import ray
import ray.data

from wristmir_ray import keys, raydata, tablerun
from wristmir_ray.errors import QUARANTINE
from wristmir_ray.ingest import listing, sidecar, stages
from wristmir_ray.ingest.config import IngestConfig
from wristmir_ray.job import Summary
from wristmir_ray.schemas import EXAMS, INGESTED, REPORTS


def run(config: IngestConfig) -> Summary:
    """Turn an archive into EXAMS and REPORTS: every object ends as exactly one row.

    Raises:
        ConfigError: no hash key, no archive, a table that cannot be read or lacks a mapped column.
    """
    key = keys.hash_key()
    objects = listing.list_images(config.images)
    known = sidecar.match_metadata(objects["source_uri"].to_pylist(), config.metadata)
    texts = sidecar.read_reports(config.reports)
    released = sidecar.read_release(config.deid.release)
    work = tablerun.TableRun(
        job="ingest",
        config=config,
        settings=_settings(config),
        code=keys.code_version("ingest", "imaging"),
        inputs={
            "objects": listing.digest(objects),
            "metadata": sidecar.file_digest(config.metadata),
            "reports": sidecar.file_digest(config.reports),
            "released": keys.digest("released", *sorted(released)) if released else "",
            "hash_key": keys.keyed(key, "fingerprint", "")[:16],
        },
    )
    for column in known.column_names:
        objects = objects.append_column(known.schema.field(column), known[column])
    return tablerun.run_tables(
        work,
        source=lambda: ray.data.from_arrow(raydata.blocks(objects, config.fragment_rows)),
        build=lambda rows: build(rows, config, texts, key, released),
        fragment=INGESTED,
        outputs=outputs,
        names=[EXAMS.name, REPORTS.name],
        facts=facts,
    )


def _settings(config: IngestConfig) -> dict[str, Any]:
    """Return what changes rows; tables enter a run's id by their bytes, not by their paths."""
    names = {"decode", "deid", "split", "assume_view", "max_file_mib", "metadata", "reports"}
    paths: Any = {"metadata": {"path"}, "reports": {"path"}, "deid": {"release"}}
    return config.model_dump(mode="json", include=names, exclude=paths)


def build(
    objects: ray.data.Dataset,
    config: IngestConfig,
    texts: pa.Table,
    key: bytes,
    released: frozenset[str] = frozenset(),
) -> ray.data.Dataset:
    """Return rows of INGESTED for rows of LISTING with KNOWN: one for one."""
    decoding = {"config": config.decode, "gate": config.deid, "released": released}
    pool = raydata.tasks(config.pool)
    return (
        objects.map_batches(stages.fetch, fn_kwargs={"max_bytes": config.max_file_mib * 2**20}, **pool)
        .map_batches(stages.decode_images, fn_kwargs=decoding, **pool)
        .map_batches(stages.merge_metadata, fn_kwargs={"assume_view": config.assume_view}, **pool)
        .map_batches(_attach_reports, fn_kwargs={"reports": ray.put(texts)}, **pool)
        .map_batches(stages.identify, fn_kwargs={"key": key, "split": config.split}, **pool)
    )


def _attach_reports(batch: pa.Table, reports: Any) -> pa.Table:
    texts = ray.get(reports) if isinstance(reports, ray.ObjectRef) else reports
    return stages.attach_reports(batch, reports=texts)


def outputs(whole: pads.Dataset | None) -> list[tablerun.Output]:
    """Return the two tables; what is a double can only be said over the whole archive."""
    doubles = stages.later_doubles(_columns(whole))
    return [
        tablerun.Output(EXAMS, partial(stages.exams, doubles=doubles)),
        tablerun.Output(REPORTS, stages.reports),
    ]


def facts(whole: pads.Dataset | None) -> dict[str, Any]:
    """Return counts of good rows (exams a split, patients, exams with a report), and quarantine by code."""
    rows = _columns(whole)
    double = pc.is_in(rows["source_id"], value_set=stages.later_doubles(rows))
    good = rows.filter(pc.and_(pc.is_null(rows["error"]), pc.invert(double)))
    splits = {s["values"]: s["counts"] for s in good["split"].value_counts().to_pylist()}
    codes = rows["error"].to_pylist()
    return {
        "quarantine": {code.value: codes.count(code.value) for code in QUARANTINE},
        "exams_by_split": dict(sorted(splits.items())),
        "patients": pc.count_distinct(good["patient_id"]).as_py(),
        "exams_with_report": good.num_rows - good["report_id"].null_count,
    }


def _columns(whole: pads.Dataset | None) -> pa.Table:
    names = ["source_id", "exam_id", "source_uri", "error", "split", "patient_id", "report_id"]
    return whole.to_table(columns=names) if whole is not None else INGESTED.schema.empty_table().select(names)
