"""The values that a statement gives to the fields of a finding, and the words that say them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """A canonical value and the characters [start, end) that say it."""

    value: str | float | bool
    start: int
    end: int
    now: bool = False
    """Said to be so today, whatever an earlier exam showed."""


Values = dict[str, Value]
"""Field of a Finding -> its value."""
