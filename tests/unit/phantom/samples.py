"""Cases made by hand."""

import datetime
from typing import Any

from wristmir_ray.anatomy import Displacement, FractureType, Healing, Presence, Region, Sex, Side
from wristmir_ray.phantom.case import BoneFinding, Case


def case(*findings: BoneFinding, **changes: Any) -> Case:
    """A left wrist of eleven years."""
    told: dict[str, Any] = {
        "index": 5,
        "patient": 3,
        "side": Side.LEFT,
        "age_years": 11.0,
        "sex": Sex.FEMALE,
        "study_date": datetime.date(2012, 3, 4),
        "cast": False,
        "osteopenia": False,
        "findings": findings,
    }
    return Case(**{**told, **changes})


def broken(
    region: Region,
    kind: FractureType,
    healing: Healing = Healing.ACUTE,
    displacement: Displacement = Displacement.MILD,
) -> BoneFinding:
    """A present finding."""
    return BoneFinding(region, Presence.PRESENT, kind, displacement, healing)
