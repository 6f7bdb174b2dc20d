"""The sampled reports, looked up in the published tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.audit.sample import STRATUM, Stratum, strata
from wristmir_ray.audit.sheet import Sampled
from wristmir_ray.audit.stages import record_of
from wristmir_ray.schemas import AUDIT, EXAMS, FINDINGS, REPORTS


def stratified(root: str, audit_run: str) -> dict[Stratum, list[str]]:
    """Return the report ids of each stratum of a published AUDIT."""
    return strata(storage.read_table(root, AUDIT, audit_run, [*STRATUM, "report_id"]))


def load_sampled(root: str, runs: Mapping[str, str], report_ids: Sequence[str]) -> list[Sampled]:
    """Return the reports with their records, conflicts and sides, in the order of `report_ids`.

    Args:
        root: folder or s3:// prefix.
        runs: table name -> run id, of REPORTS, FINDINGS, EXAMS and AUDIT.
        report_ids: good rows of AUDIT.
    """
    wanted = pc.field("report_id").isin(list(report_ids))
    texts, records, audit = (
        {r["report_id"]: r for r in storage.read_table(root, t, runs[t.name], where=wanted).to_pylist()}
        for t in (REPORTS, FINDINGS, AUDIT)
    )
    sides: dict[str, set[str]] = defaultdict(set)
    exams = storage.read_table(root, EXAMS, runs[EXAMS.name], ["report_id", "laterality"], where=wanted)
    for row in exams.to_pylist():
        sides[row["report_id"]].update([row["laterality"]] if row["laterality"] else [])
    return [
        Sampled(r, texts[r]["text"], record_of(records[r]), audit[r]["conflicts"], sorted(sides[r])) for r in report_ids
    ]
