"""What an ingest warns of: the thing and its mend, and nothing where nothing is amiss."""

from typing import Any

import pytest

from wristmir_ray.ingest.advice import advice
from wristmir_ray.ingest.config import IngestConfig, MetadataColumns

FINE = {
    "exams_without_patient": 0,
    "images_without_view": 0,
    "metadata_rows": 9,
    "metadata_unmatched": 8,
    "reports_rows": 5,
    "reports_unmatched": 4,
}
COLUMNS = MetadataColumns(file="Datei", accession="Auftrag")


def _config(**reports: Any) -> IngestConfig:
    return IngestConfig(
        root="r",
        images="i",
        metadata={"path": "m.csv", "columns": COLUMNS},  # type: ignore[arg-type]
        reports={"path": "r.csv", "columns": {"accession": "Nr", "text": "Befund"}},  # type: ignore[arg-type]
    )


def test_nothing_is_said_where_something_matches() -> None:
    assert advice(_config(), FINE) == ()
    assert advice(IngestConfig(root="r", images="i"), {n: FINE[n] for n in list(FINE)[:2]}) == ()
    assert advice(_config(), {**FINE, "metadata_rows": 0, "metadata_unmatched": 0}) == (), "an empty table"


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"metadata_unmatched": 9}, ["metadata.path", "'Datei'", "metadata.columns.file"]),
        ({"reports_unmatched": 5}, ["reports.path", "'Nr'", "reports.columns.accession", "'Auftrag'"]),
        ({"images_without_view": 7}, ["7 images", "--assume_view pa", "metadata.columns.view"]),
        ({"exams_without_patient": 3}, ["3 good exams", "train and in test", "metadata.columns.patient_id"]),
    ],
)
def test_one_line_names_the_thing_and_its_mend(facts: dict[str, int], words: list[str]) -> None:
    (line,) = advice(_config(), {**FINE, **facts})
    assert all(word in line for word in words)
    assert "\n" not in line


def test_without_a_metadata_table_studies_are_those_of_the_header() -> None:
    config = _config().with_(metadata={})
    facts = {**FINE, "reports_unmatched": 5}
    (line,) = advice(config, {n: v for n, v in facts.items() if not n.startswith("metadata")})
    assert "in the header" in line
