"""What the facts of an ingest warn of: a line each, with its mend."""

from collections.abc import Iterator, Mapping
from typing import Any

from wristmir_ray.ingest.config import IngestConfig


def advice(config: IngestConfig, facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what somebody should look at before the next job, nothing of any row's content.

    Args:
        config: settings of the run.
        facts: of its summary, see `exams.publish_exams`.
    """
    return (*_of_tables(config, facts), *_of_exams(facts))


def _of_tables(config: IngestConfig, facts: Mapping[str, Any]) -> Iterator[str]:
    metadata, reports = config.metadata.columns, config.reports.columns
    if _nothing_matches("metadata", facts):
        yield (
            f"no row of metadata.path names an image: is '{metadata.file}' its column of files "
            "(metadata.columns.file), and `images` their place?"
        )
    if _nothing_matches("reports", facts):
        theirs = f"'{metadata.accession}' of metadata.path" if config.metadata.path and metadata.accession else ""
        yield (
            f"no row of reports.path belongs to an image: is '{reports.accession}' its column of studies "
            f"(reports.columns.accession), as in {theirs or 'the header'} (metadata.columns.accession)?"
        )


def _nothing_matches(table: str, facts: Mapping[str, Any]) -> bool:
    rows = facts.get(f"{table}_rows", 0)
    return bool(rows) and facts[f"{table}_unmatched"] == rows


def _of_exams(facts: Mapping[str, Any]) -> Iterator[str]:
    if n := facts["images_without_view"]:
        yield (
            f"{n} images are rejected since nothing names their view: --assume_view pa takes them for PA, or map the "
            "table's column of views (metadata.columns.view)"
        )
    if n := facts["exams_without_patient"]:
        yield (
            f"{n} good exams have no patient and are split by image: images of one child may be in train and in test; "
            "map the table's column of patients (metadata.columns.patient_id)"
        )
