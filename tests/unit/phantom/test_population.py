"""Who is examined: Table 3 and the metadata's marginals, determinism, plausibility."""

from collections import Counter
from itertools import pairwise

import pytest

from wristmir_ray.anatomy import BONES, FractureType, Healing, Presence, Region, Sex, Side
from wristmir_ray.phantom.case import BoneFinding, Case
from wristmir_ray.phantom.population import (
    EXAMS_BY_FRACTURES,
    LEFT_SHARE,
    MALE_SHARE,
    PHYSIS_CLOSED_YEARS,
    STYLOID_YEARS,
    patient_cases,
    patients,
    sample_cases,
)

EXAMS = 3000


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return sample_cases(0, EXAMS)


@pytest.fixture(scope="module")
def fractures(cases: list[Case]) -> list[BoneFinding]:
    return [f for c in cases for f in c.findings if f.presence == Presence.PRESENT]


def _fractures(case: Case) -> int:
    return sum(f.presence == Presence.PRESENT for f in case.findings)


def test_fractures_a_case_follow_table_3(cases: list[Case]) -> None:
    found = Counter(map(_fractures, cases))
    for number, count in EXAMS_BY_FRACTURES.items():
        assert found[number] / EXAMS == pytest.approx(count / 7540, abs=0.03)


@pytest.mark.parametrize(
    ("region", "count"), [(BONES[0], 5369), (BONES[1], 2030), (BONES[2], 1238)], ids=["radius", "ulna", "styloid"]
)
def test_regions_follow_table_3(fractures: list[BoneFinding], region: Region, count: int) -> None:
    share = sum(f.region == region for f in fractures) / len(fractures)
    assert share == pytest.approx(count / 8637, abs=0.03)


@pytest.mark.parametrize(("start", "count"), [("salter", 1621), ("buckle", 1007), ("transverse", 1924)])
def test_types_follow_table_3(fractures: list[BoneFinding], start: str, count: int) -> None:
    share = sum(f.fracture_type.startswith(start) for f in fractures) / len(fractures)
    assert share == pytest.approx(count / 8637, abs=0.03)


def test_healing_share_follows_table_3(fractures: list[BoneFinding]) -> None:
    share = sum(f.healing == Healing.HEALING for f in fractures) / len(fractures)
    assert share == pytest.approx(3955 / 8637, abs=0.05)


def test_metadata_follows_grazpedwri(cases: list[Case]) -> None:
    assert sum(c.sex == Sex.MALE for c in cases) / EXAMS == pytest.approx(MALE_SHARE, abs=0.05)
    assert sum(c.side == Side.LEFT for c in cases) / EXAMS == pytest.approx(LEFT_SHARE, abs=0.05)
    assert sum(c.cast for c in cases) / EXAMS == pytest.approx(2879 / 10086, abs=0.05)
    assert len({c.patient for c in cases}) / EXAMS == pytest.approx(6365 / 10086, abs=0.05)
    assert sum(c.age_years for c in cases) / EXAMS == pytest.approx(10.9, abs=0.6)


def test_an_exam_depends_on_its_patient_alone(cases: list[Case]) -> None:
    assert sample_cases(0, 100) == cases[:100]
    assert [c.index for c in cases] == list(range(EXAMS))
    patient, first, count = list(patients(0, 500))[200]
    assert patient_cases(0, patient, first)[:count] == tuple(cases[first : first + count])
    assert sample_cases(1, 100) != cases[:100]


def test_a_patient_keeps_sex_and_side_and_never_heals_backwards(cases: list[Case]) -> None:
    order = (Healing.UNKNOWN, Healing.ACUTE, Healing.HEALING, Healing.HEALED, Healing.NONUNION)
    repeats = [(a, b) for a, b in pairwise(cases) if a.patient == b.patient]
    assert len(repeats) > 500
    for a, b in repeats:
        assert (a.side, a.sex) == (b.side, b.sex)
        assert a.study_date < b.study_date
        assert a.age_years <= b.age_years
        pairs = list(zip(a.findings, b.findings, strict=True))
        assert all(f.region == g.region and f.fracture_type == g.fracture_type for f, g in pairs)
        assert all(order.index(f.healing) <= order.index(g.healing) for f, g in pairs)


def test_bones_break_only_as_they_can(cases: list[Case]) -> None:
    kinds = {FractureType.AVULSION, FractureType.TRANSVERSE, FractureType.UNKNOWN}
    first = {c.patient: c for c in reversed(cases)}.values()
    for case in first:
        for finding in case.findings:
            if finding.region == Region.ULNAR_STYLOID:
                assert finding.fracture_type in kinds
                assert case.age_years >= STYLOID_YEARS
            else:
                assert finding.fracture_type != FractureType.AVULSION
            if finding.fracture_type.startswith("salter"):
                assert case.age_years < PHYSIS_CLOSED_YEARS[case.sex]


def test_a_few_findings_are_uncertain_and_never_of_a_broken_bone(cases: list[Case]) -> None:
    unsure = [c for c in cases if any(f.presence == Presence.UNCERTAIN for f in c.findings)]
    assert 0.005 < len(unsure) / EXAMS < 0.05
    for case in unsure:
        broken = {f.region for f in case.findings if f.presence == Presence.PRESENT}
        assert not broken & {f.region for f in case.findings if f.presence == Presence.UNCERTAIN}
