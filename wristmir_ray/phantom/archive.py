"""The archive's layout: what each file of it holds.

images/000123.dcm|.png   one radiograph an exam
metadata.csv             file, patient_id, accession, laterality, view, age_years, sex, study_date
reports.csv              accession, report
truth.parquet            what is true of the bones, and what the report states
boxes.parquet            true boxes: file, region, x0_px, y0_px, x1_px, y1_px
sealed_reports.parquet   reports from the sealed sentence bank: accession, report, reported
manifest.json            written last: without it there is no archive
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.phantom.case import BoneFinding
from wristmir_ray.tables import Table

MANIFEST = "manifest.json"
METADATA_COLUMNS = ("file", "patient_id", "accession", "laterality", "view", "age_years", "sex", "study_date")

_FINDINGS = pa.list_(
    pa.struct([(n, pa.string()) for n in ("region", "presence", "fracture_type", "displacement", "healing")])
)
_BOX_FIELDS = [("region", pa.string()), *((n, pa.float32()) for n in ("x0_px", "y0_px", "x1_px", "y1_px"))]
_TRUTH = [
    ("file", pa.string()),
    ("accession", pa.string()),
    ("patient_id", pa.string()),
    ("side", pa.string()),
    ("age_years", pa.float32()),
    ("cast", pa.bool_()),
    ("findings", _FINDINGS),
    ("reported", _FINDINGS),
]
TRUTH = Table("truth", ("file",), pa.schema(_TRUTH))
BOXES = Table("boxes", ("file", "region"), pa.schema([("file", pa.string()), *_BOX_FIELDS]))
SEALED = Table(
    "sealed_reports",
    ("accession",),
    pa.schema([("accession", pa.string()), ("report", pa.string()), ("reported", _FINDINGS)]),
)
EXAM_ROWS = Table(
    "phantoms",
    ("file",),
    pa.schema(
        [
            *_TRUTH,
            ("sex", pa.string()),
            ("study_date", pa.string()),
            ("format", pa.string()),
            ("report", pa.string()),
            ("boxes", pa.list_(pa.struct(_BOX_FIELDS))),
            ("image", pa.large_binary()),
        ]
    ),
)
"""What drawing gives, one row an exam; `image` becomes a file, the rest the tables."""


def finding_rows(findings: Iterable[BoneFinding]) -> list[dict[str, str]]:
    """Return findings as plain rows of the truth tables."""
    return [{k: str(v.value) for k, v in asdict(f).items()} for f in findings]


def finished(out: str, run_id: str, replace: bool = False) -> dict[str, Any] | None:
    """Return the manifest when `out` already holds this very archive; None where nothing stands.

    Args:
        out: folder of the archive.
        run_id: of the archive that is wanted.
        replace: an archive of other settings or another version is no obstacle; anything else is.

    Raises:
        ConfigError: something else stands there.
    """
    folder = Path(out)
    if storage.is_s3(out):
        raise ConfigError(f"out {out}: phantoms are written to a folder, not to S3; copy the finished folder there")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        raise ConfigError(f"out {out} holds something that is no phantom archive; choose another `out`") from None
    if manifest.get("run_id") != run_id and replace:
        return None
    if manifest.get("run_id") != run_id:
        raise ConfigError(
            f"out {out} holds an archive of other settings or another version; choose another `out` or set replace"
        )
    return manifest


def write_tables(folder: str, rows: pa.Table, sealed: pa.Table) -> None:
    """Write every table of the archive.

    Args:
        folder: of the archive in the making.
        rows: EXAM_ROWS without pixels, sorted by file.
        sealed: SEALED.
    """
    exams = rows.to_pylist()
    storage.write_parquet(rows.select(TRUTH.schema.names), storage.join(folder, "truth.parquet"), 4096)
    boxes = [{"file": e["file"], **b} for e in exams for b in e["boxes"]]
    storage.write_parquet(pa.Table.from_pylist(boxes, BOXES.schema), storage.join(folder, "boxes.parquet"), 4096)
    storage.write_parquet(sealed, storage.join(folder, "sealed_reports.parquet"), 4096)
    metadata = [{**e, "laterality": e["side"], "view": "pa", "age_years": f"{e['age_years']:.2f}"} for e in exams]
    _write_csv(storage.join(folder, "metadata.csv"), METADATA_COLUMNS, metadata)
    _write_csv(storage.join(folder, "reports.csv"), ("accession", "report"), exams)


def write_manifest(folder: str, manifest: dict[str, Any]) -> None:
    """Make the archive exist."""
    text = json.dumps(manifest, indent=1, sort_keys=True)
    storage.write_bytes(storage.join(folder, MANIFEST), text.encode())


def _write_csv(uri: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    storage.write_bytes(uri, buffer.getvalue().encode())
