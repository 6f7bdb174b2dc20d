"""Filters against asking exam by exam."""

import datetime
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray.anatomy import FractureType, Region, Sex, Side, View
from wristmir_ray.retrieval.filters import Columns, Filters

BONE = Region.DISTAL_RADIUS
_DAYS = [datetime.date(2020, 1, d) for d in range(1, 6)]
_VALUES: dict[str, list[Any]] = {
    "laterality": list(Side),
    "view": list(View),
    "sex": list(Sex),
    "age_years": [1.5, 6.0, 12.25],
    "study_date": _DAYS,
    f"{BONE.value}_fracture_type": [FractureType.BUCKLE, FractureType.OBLIQUE],
    "patient_id": ["p0", "p1", "p2"],
}
_TYPES = {"age_years": pa.float32(), "study_date": pa.date32()}

exams = st.lists(
    st.fixed_dictionaries({name: st.sampled_from([*values, None]) for name, values in _VALUES.items()}), max_size=12
)
filters = st.builds(
    Filters,
    **{name: st.sampled_from([None, *_VALUES[name]]) for name in ("laterality", "view", "sex")},
    age_min_years=st.sampled_from([None, *_VALUES["age_years"]]),
    age_max_years=st.sampled_from([None, *_VALUES["age_years"]]),
    date_from=st.sampled_from([None, *_DAYS]),
    date_to=st.sampled_from([None, *_DAYS]),
    fracture_type=st.sampled_from([None, *_VALUES[f"{BONE.value}_fracture_type"]]),
    exclude_patient=st.sampled_from([None, "p0", "p1"]),
    exclude_exam=st.sampled_from([None, "e0", "e3"]),
)


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: pa.array([r[name] for r in rows], _TYPES.get(name, pa.string())) for name in _VALUES}
    return pa.table({"exam_id": pa.array([f"e{i}" for i in range(len(rows))], pa.string()), **columns})


def _satisfies(exam_id: str, row: dict[str, Any], f: Filters) -> bool:
    equal = {n: getattr(f, n) for n in ("laterality", "view", "sex")}
    equal[f"{BONE.value}_fracture_type"] = f.fracture_type
    if any(wanted is not None and row[name] != wanted for name, wanted in equal.items()):
        return False
    for name, low, high in (
        ("age_years", f.age_min_years, f.age_max_years),
        ("study_date", f.date_from, f.date_to),
    ):
        if (low is not None or high is not None) and row[name] is None:
            return False
        if (low is not None and row[name] < low) or (high is not None and row[name] > high):
            return False
    return exam_id != f.exclude_exam and (f.exclude_patient is None or row["patient_id"] != f.exclude_patient)


@given(exams, filters)
def test_the_mask_is_what_each_exam_satisfies(rows: list[dict[str, Any]], wanted: Filters) -> None:
    mask = Columns(_table(rows)).allowed(wanted, BONE)
    expected = [_satisfies(f"e{i}", row, wanted) for i, row in enumerate(rows)]
    if mask is None:
        assert wanted == Filters()
    else:
        assert mask.tolist() == expected


@pytest.mark.parametrize("name", [f.name for f in fields(Filters)])
def test_no_filter_is_forgotten(name: str) -> None:
    """Each one alone keeps some exams and drops some."""
    row = {n: values[0] for n, values in _VALUES.items()}
    other = {n: values[1] for n, values in _VALUES.items()}
    age, day = _VALUES["age_years"], _DAYS
    chosen = {"age_min_years": age[1], "age_max_years": age[0], "date_from": day[1], "date_to": day[0]}
    chosen |= {"fracture_type": FractureType.BUCKLE, "exclude_patient": "p0", "exclude_exam": "e0"}
    wanted = Filters(**{name: chosen.get(name, _VALUES.get(name, [None])[0])})
    mask = Columns(_table([row, other])).allowed(wanted, BONE)
    assert mask is not None
    assert sorted(mask.tolist()) == [False, True]
