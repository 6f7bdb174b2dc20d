"""EXAMS and REPORTS from what was read, the metadata table and the reports, range by range.

No pixel is read here, and no Ray is needed. What belongs together meets by hash: an object's rows by
source_id, a study's by study_id, copies of one exam by exam_id. Of wide rows only one range is in
memory; what travels between ranges are pairs of keys.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, shards, storage, tablerun
from wristmir_ray.errors import QUARANTINE
from wristmir_ray.ingest.config import IngestConfig
from wristmir_ray.ingest.doubles import COPIES, DOUBLES, find_doubles, reject_doubles
from wristmir_ray.ingest.merge import MERGED, NO_VIEW, merge
from wristmir_ray.ingest.objects import Objects
from wristmir_ray.ingest.release import release
from wristmir_ray.ingest.sidecar import TEXTS, spill_reports, whole_reports
from wristmir_ray.job import Summary
from wristmir_ray.schemas import EXAMS, REPORTS, SOURCES
from wristmir_ray.spill import Spill, key_ranges, within
from wristmir_ray.tables import Table, conform

NAMES = (EXAMS.name, REPORTS.name)
_ID = pa.string()
STUDIES = pa.schema([("study_id", _ID), ("source_id", _ID)])
"""The study of every object; the source_id of a reject is null."""
LINKS = pa.schema([("source_id", _ID), ("report_id", _ID)])
USED = pa.schema([("report_id", _ID), ("text", _ID)])


class Spills:
    """What travels between ranges of different keys."""

    def __init__(self, folder: str) -> None:
        self.merged = Spill(f"{folder}/merged", MERGED, "source_id")
        self.copies = Spill(f"{folder}/copies", COPIES, "exam_id", "source_uri")
        self.doubles = Spill(f"{folder}/doubles", DOUBLES, "source_id")
        self.studies = Spill(f"{folder}/studies", STUDIES, "study_id")
        self.links = Spill(f"{folder}/links", LINKS, "source_id")
        self.texts = Spill(f"{folder}/texts", TEXTS, "study_id", "row")
        self.used = Spill(f"{folder}/used", USED, "report_id")
        self.patients = Spill(f"{folder}/patients", pa.schema([("patient_id", _ID)]), "patient_id")


def publish_exams(
    config: IngestConfig,
    run: tablerun.TableRun,
    key: bytes,
    objects: Objects,
    sources: str,
    released: frozenset[str],
    folder: str,
) -> Summary:
    """Publish EXAMS and REPORTS of an archive.

    Args:
        config: settings.
        run: identity and lineage.
        key: the secret.
        objects: all objects of the archive.
        sources: run id of SOURCES.
        released: source ids that a person let through the de-identification gate.
        folder: where spills are written.

    Raises:
        ConfigError: `root` cannot be written; the reports table cannot be read, or lacks a mapped column.
    """
    started = time.monotonic()
    storage.check_writable(config.root)
    spills = Spills(folder)
    facts: Counter[str] = Counter()
    facts["reports rows"] = spill_reports(config.reports, key, spills.texts)
    for part in key_ranges(objects.rows.num_rows):
        where = within("source_id", part)
        read = storage.read_table(config.root, SOURCES, sources, good_only=False, where=where)
        judged, lifted = release(read, released)
        facts["released"] += lifted
        rows = merge(objects.rows.read(part), judged, config.assume_view, config.split)
        _send(rows, spills)
    find_doubles(spills.copies, spills.doubles)
    facts["reports matched"] = attach_reports(spills)
    exams = _write(run, EXAMS, _exams(spills, facts))
    reports = _write(run, REPORTS, (_as_reports(rows) for rows in spills.used.ranges()))
    metrics = _metrics(facts, spills.patients) | _tables(config, objects, facts)
    return tablerun.publish(run, NAMES, [exams, reports], metrics, started)


def _send(rows: pa.Table, spills: Spills) -> None:
    """Put one range's rows where their copies and their studies' reports are met."""
    spills.merged.put(rows)
    spills.copies.put(rows.filter(pc.is_null(rows["error"])).select(COPIES.names))
    studied = rows.filter(pc.is_valid(rows["study_id"]))
    good = pc.if_else(pc.is_null(studied["error"]), studied["source_id"], pa.scalar(None, _ID))
    spills.studies.put(pa.table([studied["study_id"], good], schema=STUDIES))


def attach_reports(spills: Spills) -> int:
    """Join studies with their texts: which object has which report, and the reports that are in use.

    Returns:
        How many texts belong to an object, be it a reject.
    """
    matched = 0
    for part in key_ranges(max(spills.texts.num_rows, spills.studies.num_rows)):
        studies = spills.studies.read(part)
        texts = spills.texts.read(part)
        matched += pc.sum(pc.is_in(texts["study_id"], value_set=studies["study_id"])).as_py() or 0
        studies = studies.filter(pc.is_valid(studies["source_id"]))
        used = whole_reports(texts.filter(pc.is_in(texts["study_id"], value_set=studies["study_id"])))
        ids = {study: keys.report_id(text) for study, text in used.items()}
        report_ids = pa.array([ids.get(study) for study in studies["study_id"].to_pylist()], pa.string())
        links = pa.table([studies["source_id"], report_ids], schema=LINKS)
        spills.links.put(links.filter(pc.is_valid(links["report_id"])))
        spills.used.put(pa.table([list(ids.values()), list(used.values())], schema=USED))
    return matched


def _exams(spills: Spills, facts: Counter[str]) -> Iterator[pa.Table]:
    """Yield EXAMS range by range, and count what the summary says. Rejects: duplicate_exam, metadata_conflict."""
    for part in key_ranges(spills.merged.num_rows):
        rows = spills.merged.read(part)
        links = spills.links.read(part)
        report = links["report_id"].take(pc.index_in(rows["source_id"], value_set=links["source_id"]))
        rows = rows.append_column("report_id", report)
        rows = reject_doubles(rows, spills.doubles.read(part))
        facts.update(f"error {code}" for code in rows["error"].drop_null().to_pylist())
        facts["without_view"] += pc.sum(pc.equal(rows["error_message"], NO_VIEW)).as_py() or 0
        _count(rows.filter(pc.is_null(rows["error"])), spills.patients, facts)
        yield rows


def _count(good: pa.Table, patients: Spill, facts: Counter[str]) -> None:
    facts.update(f"split {split}" for split in good["split"].to_pylist())
    facts.update(f"conflict {name}" for name in pc.list_flatten(good["conflicts"]).to_pylist())
    facts["with_report"] += good.num_rows - good["report_id"].null_count
    facts["without_patient"] += good["patient_id"].null_count
    patients.put(good.filter(pc.is_valid(good["patient_id"])).select(["patient_id"]))


def _metrics(facts: Counter[str], patients: Spill) -> dict[str, Any]:
    """Return counts of good rows (a split, patients, a report, conflicts by field), and of rejects that have a mend."""

    def named(kind: str) -> dict[str, int]:
        return {k.removeprefix(kind): n for k, n in sorted(facts.items()) if k.startswith(kind)}

    return {
        "exams_by_split": named("split "),
        "patients": sum(pc.count_distinct(rows["patient_id"]).as_py() for rows in patients.ranges()),
        "exams_without_patient": facts["without_patient"],
        "exams_with_report": facts["with_report"],
        "images_without_view": facts["without_view"],
        "conflicts": named("conflict "),
        "quarantine": {code.value: facts[f"error {code.value}"] for code in QUARANTINE},
        "released": facts["released"],
    }


def _tables(config: IngestConfig, objects: Objects, facts: Counter[str]) -> dict[str, int]:
    """Return for each table that there is how many rows it has, and how many belong to no object."""
    reports = facts["reports rows"]
    counts = {
        "metadata": {"metadata_rows": objects.metadata_rows, "metadata_unmatched": objects.metadata_unmatched},
        "reports": {"reports_rows": reports, "reports_unmatched": reports - facts["reports matched"]},
    }
    paths = {"metadata": config.metadata.path, "reports": config.reports.path}
    return {name: n for table, of_table in counts.items() if paths[table] for name, n in of_table.items()}


def _as_reports(rows: pa.Table) -> pa.Table:
    return conform({name: rows[name] for name in USED.names}, REPORTS)


def _write(run: tablerun.TableRun, table: Table, ranges: Iterable[pa.Table]) -> storage.Manifest:
    """Write a table's files, one a range."""
    folder = storage.run_uri(run.config.root, table.name, run.run_id)
    published = storage.find_run(run.config.root, table.name, run.run_id)
    if published is None:
        storage.delete_tree(folder)  # an unpublished leftover of an earlier try
    receipts = [
        receipt
        for rows in ranges
        if published is None
        for receipt in shards.write_shard(rows, table, folder).to_pylist()
    ]
    return published or run.table_manifest(table, receipts)
