"""Patients to exams: sample, draw, describe, encode. Pure: the same row gives the same bytes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from wristmir_ray.phantom import archive, formats
from wristmir_ray.phantom.case import Case
from wristmir_ray.phantom.config import PhantomConfig
from wristmir_ray.phantom.population import patient_cases, sample_cases
from wristmir_ray.phantom.render import render
from wristmir_ray.phantom.reports import ReportText, write_report
from wristmir_ray.phantom.scene import build_scene
from wristmir_ray.tables import conform

_FORMAT, _REPORT, _SEALED = 17, 18, 19

Writer = Callable[[Case, str, np.random.Generator], ReportText]


def draw_exams(batch: pa.Table, *, config: PhantomConfig, write: Writer = write_report) -> pa.Table:
    """Draw and describe every exam of some patients.

    Columns: patient, first_index, exams -> EXAM_ROWS. 1:N, one row an exam.

    Args:
        batch: patients as `population.patients` yields them.
        config: seed and shares.
        write: writes the report.
    """
    cases = [
        case
        for row in batch.to_pylist()
        for case in patient_cases(config.seed, row["patient"], row["first_index"])[: row["exams"]]
    ]
    return conform([_exam(case, config, write) for case in cases], archive.EXAM_ROWS)


def _exam(case: Case, config: PhantomConfig, write: Writer) -> dict[str, Any]:
    rng = np.random.default_rng((config.seed, _FORMAT, case.index))
    scene = build_scene(case, config.seed)
    pixels = render(scene, config.seed)
    if rng.random() < config.png_share:
        kind, image = "png", formats.encode_png16(pixels)
    else:
        inverted = bool(rng.random() < config.monochrome1_share)
        kind = "monochrome1" if inverted else "monochrome2"
        image = formats.encode_dicom(pixels, case, config.seed, inverted)
    report = write(case, "open", np.random.default_rng((config.seed, _REPORT, case.index)))
    return {
        "file": f"images/{case.index:06d}.{'png' if kind == 'png' else 'dcm'}",
        "accession": formats.accession(case),
        "patient_id": formats.patient_name(case),
        "side": case.side.value,
        "age_years": case.age_years,
        "cast": case.cast,
        "findings": archive.finding_rows(case.findings),
        "reported": archive.finding_rows(report.reported),
        "sex": case.sex.value,
        "study_date": case.study_date.isoformat(),
        "format": kind,
        "report": report.text,
        "boxes": [
            {"region": r.value, "x0_px": b.x0_px, "y0_px": b.y0_px, "x1_px": b.x1_px, "y1_px": b.y1_px}
            for r, b in scene.boxes.items()
        ],
        "image": image,
    }


def write_sealed(config: PhantomConfig, write: Writer = write_report) -> pa.Table:
    """Return SEALED: reports of a population of its own, in sentences that no extractor was tuned on."""
    rows = []
    for case in sample_cases(config.seed + 1_000_003, config.sealed_reports):
        report = write(case, "sealed", np.random.default_rng((config.seed, _SEALED, case.index)))
        reported = archive.finding_rows(report.reported)
        rows.append({"accession": f"PHS{case.index:07d}", "report": report.text, "reported": reported})
    return conform(rows, archive.SEALED)
