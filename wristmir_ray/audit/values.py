"""A record as single values: the unit that is checked, marked and counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wristmir_ray.mining.findings import EXAM_FIELDS, Evidence, Finding, Record

EXAM = -1
"""`finding` of a value that belongs to the exam as a whole."""
_FINDING_FIELDS = tuple(n for n in Finding.model_fields if n != "evidence")
_SILENT = (None, (), "unknown")


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a record, its address (finding, field), and the quotes given for it."""

    finding: int
    """Index into the record's findings, or `EXAM`."""
    field: str
    value: Any
    quotes: tuple[Evidence, ...]

    @property
    def words(self) -> str:
        """The value as people read it."""
        if isinstance(self.value, bool):
            return "yes" if self.value else "no"
        if isinstance(self.value, tuple):
            return ", ".join(v.value for v in self.value)
        return f"{self.value:g} °" if isinstance(self.value, float) else str(self.value).replace("_", " ")


def values(record: Record) -> Iterator[Value]:
    """Yield what a record states, in the order in which people read it; a silent field is no value."""
    yield from _of(EXAM, EXAM_FIELDS, record)
    for i, finding in enumerate(record.findings):
        yield from _of(i, _FINDING_FIELDS, finding)


def _of(at: int, names: tuple[str, ...], source: Record | Finding) -> Iterator[Value]:
    for name in names:
        value = getattr(source, name)
        if value not in _SILENT:
            value = round(value, 2) if isinstance(value, float) else value  # Arrow holds it as float32
            yield Value(at, name, value, tuple(e for e in source.evidence if e.field == name))
