"""Which exams may be hits: a mask over the index's rows, computed from its metadata."""

import datetime
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray.anatomy import FractureType, Region, Sex, Side, View


@dataclass(frozen=True)
class Filters:
    """What hits must satisfy; None leaves a property free. An exam of unknown value never satisfies."""

    laterality: Side | None = None
    view: View | None = None
    sex: Sex | None = None
    age_min_years: float | None = None
    age_max_years: float | None = None
    date_from: datetime.date | None = None
    date_to: datetime.date | None = None
    fracture_type: FractureType | None = None
    """Of the asked region."""
    exclude_patient: str | None = None
    exclude_exam: str | None = None


def allowed(exams: pa.Table, filters: Filters, region: Region) -> np.ndarray | None:
    """Return (N,) bool, or None where nothing is restricted.

    Args:
        exams: the index's metadata, one row an exam.
        filters: the restrictions.
        region: the asked region, whose fracture type is meant.
    """
    masks = [
        pc.equal(exams[column], value)
        for column, value in (
            ("laterality", filters.laterality),
            ("view", filters.view),
            ("sex", filters.sex),
            (f"{region.value}_fracture_type", filters.fracture_type),
        )
        if value is not None
    ]
    for column, low, high in (
        ("age_years", filters.age_min_years, filters.age_max_years),
        ("study_date", filters.date_from, filters.date_to),
    ):
        masks += [pc.greater_equal(exams[column], low)] if low is not None else []
        masks += [pc.less_equal(exams[column], high)] if high is not None else []
    for column, value in (("patient_id", filters.exclude_patient), ("exam_id", filters.exclude_exam)):
        if value is not None:
            masks.append(pc.fill_null(pc.not_equal(exams[column], value), True))
    if not masks:
        return None
    both = np.ones(exams.num_rows, bool)
    for mask in masks:
        both &= np.asarray(pc.fill_null(mask, False))
    return both
