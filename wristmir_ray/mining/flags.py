"""What a reader of a report should know beside its record."""

from enum import StrEnum

from wristmir_ray.mining.findings import Record
from wristmir_ray.mining.instructions import find_instructions

_SPACES = frozenset("\t\n\r\f\v")


class Flag(StrEnum):
    """Something unusual about a report that was mined all the same."""

    CONTROL_CHARACTERS = "control_characters"
    INSTRUCTIONS = "instructions"
    """It speaks to its reader; those sentences were not read."""
    TWO_WRISTS = "two_wrists"
    """It is about both: findings carry their sides."""


def flags(report: str, record: Record) -> list[str]:
    """Return the flags of a mined report, sorted."""
    out = []
    if any(not c.isprintable() and c not in _SPACES and ord(c) < 160 for c in report):
        out.append(Flag.CONTROL_CHARACTERS)
    if find_instructions(report):
        out.append(Flag.INSTRUCTIONS)
    if record.side == "bilateral" or len({f.side for f in record.findings if f.side}) > 1:
        out.append(Flag.TWO_WRISTS)
    return sorted(f.value for f in out)
