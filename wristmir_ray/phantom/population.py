"""Who is examined and what is broken: sampled patient by patient, each from its own random stream.

Fractures follow WristMIR Table 3 (7,540 exams): exams by number of fractures, fractures by region,
by type, and the healing share. Ages, sexes, sides, repeat exams and casts follow the 10,086 PA views
of GRAZPEDWRI-DX (Nagy et al., Scientific Data 2022, CC BY 4.0; its table `dataset.csv`).
"""

import datetime
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np

from wristmir_ray.anatomy import BONES, Displacement, FractureType, Healing, Presence, Region, Sex, Side
from wristmir_ray.phantom.case import BoneFinding, Case

T = TypeVar("T")

RADIUS, ULNA, STYLOID = BONES

EXAMS_BY_FRACTURES = {0: 2209, 1: 2264, 2: 2869, 3: 159, 4: 37, 5: 2}
"""WristMIR Table 3."""

PLACES: dict[int, dict[tuple[Region, ...], float]] = {
    0: {(): 1.0},
    1: {(RADIUS,): 0.88, (ULNA,): 0.06, (STYLOID,): 0.06},
    2: {(RADIUS, ULNA): 0.5755, (RADIUS, STYLOID): 0.2995, (RADIUS, RADIUS): 0.11, (ULNA, STYLOID): 0.015},
    3: {(RADIUS, ULNA, STYLOID): 1.0},
    4: {(RADIUS, RADIUS, ULNA, STYLOID): 1.0},
    5: {(RADIUS, RADIUS, ULNA, ULNA, STYLOID): 1.0},
}
"""Number of fractures -> where they are; solved for Table 3's 5,369 / 2,030 / 1,238 by region."""

TYPES: dict[Region, dict[FractureType, float]] = {
    RADIUS: {
        FractureType.SALTER_HARRIS_II: 0.158,
        FractureType.SALTER_HARRIS: 0.063,
        FractureType.SALTER_HARRIS_I: 0.018,
        FractureType.SALTER_HARRIS_III: 0.012,
        FractureType.SALTER_HARRIS_IV: 0.010,
        FractureType.SALTER_HARRIS_V: 0.003,
        FractureType.BUCKLE: 0.142,
        FractureType.TRANSVERSE: 0.240,
        FractureType.GREENSTICK: 0.090,
        FractureType.OBLIQUE: 0.045,
        FractureType.INCOMPLETE: 0.030,
        FractureType.COMMINUTED: 0.020,
        FractureType.UNKNOWN: 0.169,
    },
    ULNA: {
        FractureType.SALTER_HARRIS_II: 0.065,
        FractureType.SALTER_HARRIS: 0.025,
        FractureType.SALTER_HARRIS_I: 0.010,
        FractureType.BUCKLE: 0.120,
        FractureType.TRANSVERSE: 0.240,
        FractureType.GREENSTICK: 0.100,
        FractureType.OBLIQUE: 0.050,
        FractureType.INCOMPLETE: 0.030,
        FractureType.UNKNOWN: 0.360,
    },
    STYLOID: {FractureType.AVULSION: 0.50, FractureType.TRANSVERSE: 0.12, FractureType.UNKNOWN: 0.38},
}
"""Types by region; they add up to Table 3's Salter-Harris .188, buckle .117, transverse .223."""

AGES: dict[Sex, tuple[int, ...]] = {
    Sex.MALE: (7, 53, 52, 79, 148, 194, 259, 325, 336, 438, 558, 633, 651, 726, 571, 467, 282, 179, 28),
    Sex.FEMALE: (7, 54, 40, 72, 125, 192, 273, 264, 398, 434, 503, 446, 396, 269, 195, 174, 158, 93, 6),
}
"""GRAZPEDWRI-DX: PA views by year of age, 0 to 18."""

LEFT_SHARE = 5514 / 10086
MALE_SHARE = 5986 / 10085
"""GRAZPEDWRI-DX."""

REPEATS = {1: 1676, 2: 702, 3: 476, 4: 331, 5: 152, 6: 73}
"""GRAZPEDWRI-DX: wrists by number of exams (one exam: 4,631), less the 2,955 intact ones, seen once."""

GAP_DAYS = (5, 6, 7, 7, 8, 9, 9, 10, 13, 15, 18, 24, 60)
"""GRAZPEDWRI-DX: about the quantiles of days between one exam and the next (quartiles 7, 9, 16)."""

DISPLACEMENTS = {
    Displacement.NONE: 0.28,
    Displacement.MINIMAL: 0.20,
    Displacement.MILD: 0.11,
    Displacement.MODERATE: 0.08,
    Displacement.SEVERE: 0.03,
    Displacement.PRESENT: 0.05,
    Displacement.UNKNOWN: 0.25,
}

UNCERTAIN_SHARE = 0.03
"""Exams with a bone about which nobody is sure (GRAZPEDWRI-DX: 266 of 10,086)."""

STYLOID_YEARS = 7.0
"""Age from which the ulnar styloid is ossified, so that it can be seen."""

PHYSIS_CLOSED_YEARS = {Sex.FEMALE: 15.5, Sex.MALE: 17.0, Sex.OTHER: 16.5}
"""Age from which the growth plates are closed, so that none can break."""

_PATIENT_STREAM = 11


def patients(seed: int, exams: int) -> Iterator[tuple[int, int, int]]:
    """Yield (patient, index of the first exam, number of exams) until `exams` are reached."""
    index = patient = 0
    while index < exams:
        count = min(len(patient_cases(seed, patient, index)), exams - index)
        yield patient, index, count
        index, patient = index + count, patient + 1


def sample_cases(seed: int, exams: int) -> list[Case]:
    """Return the first `exams` cases of the seed's population; a longer list starts with a shorter one."""
    return [c for p, index, count in patients(seed, exams) for c in patient_cases(seed, p, index)[:count]]


def patient_cases(seed: int, patient: int, first_index: int) -> tuple[Case, ...]:
    """Return all exams of one patient's wrist, in time.

    Args:
        seed: of the population.
        patient: its number; the sole further source of chance.
        first_index: index of its first exam, numbered on from there.
    """
    rng = np.random.default_rng((seed, _PATIENT_STREAM, patient))
    findings = _first_findings(rng)
    sex = Sex.MALE if rng.random() < MALE_SHARE else Sex.FEMALE
    age = _age(rng, sex, findings)
    side = Side.LEFT if rng.random() < LEFT_SHARE else Side.RIGHT
    date = datetime.date(2009, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 3500)))
    speed = rng.uniform(0.8, 1.3) * (1.25 - 0.02 * age)
    exams = _pick(rng, REPEATS) if any(f.presence == Presence.PRESENT for f in findings) else 1
    cases: list[Case] = []
    day = 0
    for number in range(exams):
        if number:
            day += int(rng.choice(GAP_DAYS))
            findings = tuple(_later(f, day * speed, rng) for f in findings)
        cast = number > 0 and bool(rng.random() < (0.83 if day < 32 else 0.15))
        cases.append(
            Case(
                index=first_index + number,
                patient=patient,
                side=side,
                age_years=round(age + day / 365.25, 2),
                sex=sex,
                study_date=date + datetime.timedelta(days=day),
                cast=cast,
                osteopenia=number > 0 and not cast and bool(rng.random() < 0.85),
                findings=findings,
            )
        )
    return tuple(cases)


def _first_findings(rng: np.random.Generator) -> tuple[BoneFinding, ...]:
    """Return what is broken at the first exam.

    Intact wrists are seen once and broken ones 2.09 times, so that the intact share of *patients* is
    higher than Table 3's share of exams.
    """
    mean = sum(n * w for n, w in REPEATS.items()) / sum(REPEATS.values())
    weights = {n: w if n == 0 else w / mean for n, w in EXAMS_BY_FRACTURES.items()}
    places = _pick(rng, PLACES[_pick(rng, weights)])
    findings = [_fracture(rng, region) for region in places]
    if rng.random() < UNCERTAIN_SHARE:
        region = BONES[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
        if region not in places:
            findings.append(BoneFinding(region, Presence.UNCERTAIN, _pick(rng, TYPES[region])))
    return tuple(findings)


def _fracture(rng: np.random.Generator, region: Region) -> BoneFinding:
    kind = _pick(rng, TYPES[region])
    displacement = _pick(rng, DISPLACEMENTS)
    if kind in {FractureType.BUCKLE, FractureType.INCOMPLETE, FractureType.SALTER_HARRIS_V}:
        displacement = Displacement.NONE if rng.random() < 0.5 else Displacement.UNKNOWN
    healing = _pick(rng, {Healing.UNKNOWN: 0.47, Healing.ACUTE: 0.45, Healing.HEALING: 0.08})
    return BoneFinding(region, Presence.PRESENT, kind, displacement, healing)


def _later(finding: BoneFinding, days: float, rng: np.random.Generator) -> BoneFinding:
    """Return a finding after so many (speed-weighted) days; healing never goes back."""
    if finding.presence != Presence.PRESENT:
        return finding
    order = (Healing.UNKNOWN, Healing.ACUTE, Healing.HEALING, Healing.HEALED, Healing.NONUNION)
    reached = Healing.ACUTE if days < 6.5 else Healing.HEALING if days < 70 else Healing.HEALED
    if reached == Healing.HEALED and finding.region == STYLOID and rng.random() < 0.3:
        reached = Healing.NONUNION
    healing = max(finding.healing, reached, key=order.index)
    return BoneFinding(finding.region, finding.presence, finding.fracture_type, finding.displacement, healing)


def _age(rng: np.random.Generator, sex: Sex, findings: Sequence[BoneFinding]) -> float:
    """Return an age at which these bones can break so."""
    physis = any(f.fracture_type.startswith("salter") for f in findings)
    low = STYLOID_YEARS if any(f.region == STYLOID for f in findings) else 0.5
    high = PHYSIS_CLOSED_YEARS[sex] if physis else math.inf
    while True:
        age = _pick(rng, dict(enumerate(AGES[sex]))) + float(rng.random())
        if low <= age < high:
            return age


def _pick(rng: np.random.Generator, weights: dict[T, float] | dict[T, int]) -> T:
    values = np.cumsum([float(w) for w in weights.values()])
    return list(weights)[int(np.searchsorted(values, rng.random() * values[-1], side="right"))]
