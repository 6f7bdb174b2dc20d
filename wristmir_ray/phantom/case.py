"""What one synthetic exam is, before it is drawn or described."""

import datetime
from dataclasses import dataclass

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Presence, Region, Sex, Side


@dataclass(frozen=True)
class BoneFinding:
    """One statement about one bone: the unit that mining is scored on."""

    region: Region
    presence: Presence
    fracture_type: FractureType = FractureType.UNKNOWN
    displacement: Displacement = Displacement.UNKNOWN
    healing: Healing = Healing.UNKNOWN


@dataclass(frozen=True)
class Case:
    """One synthetic exam. `findings` holds present and uncertain ones; other bones are intact.

    A region may carry several findings (WristMIR Table 3: up to five in three regions).
    """

    index: int
    patient: int
    side: Side
    age_years: float
    sex: Sex
    study_date: datetime.date
    cast: bool
    osteopenia: bool
    findings: tuple[BoneFinding, ...]
