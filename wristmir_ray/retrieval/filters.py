"""Which exams may be hits: masks over a segment's rows, from columns that are kept in memory."""

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


class Columns:
    """What filters look at, one entry an exam: small integers for words, float32 for ages and days.

    Args:
        exams: metadata.
    """

    def __init__(self, exams: pa.Table) -> None:
        self._rows = exams.num_rows
        words = ["laterality", "view", "sex", *(f"{r.value}_fracture_type" for r in Region)]
        self._words = {n: _coded(exams[n]) for n in words if n in exams.column_names}
        self._patients, names = _coded(exams["patient_id"])
        self._patient_codes = names
        self._patient_names = np.array([n.encode() for n in names] or [b""])
        self._ids = np.array([e.encode() for e in exams["exam_id"].to_pylist()] or [b""])[: self._rows]
        self._ages = _floats(exams["age_years"])
        days = exams["study_date"]
        self._days = _floats(days if pa.types.is_null(days.type) else days.cast(pa.date32()).cast(pa.int32()))

    @property
    def ids(self) -> np.ndarray:
        """(N,) bytes, the exams' ids."""
        return self._ids

    def patients(self, rows: np.ndarray) -> np.ndarray:
        """Return the patients of rows as bytes; an exam of no known patient is a patient of its own."""
        codes = self._patients[rows]
        named = self._patient_names[codes]
        return np.where(codes < 0, np.char.add(b"exam ", self._ids[rows]), named) if (codes < 0).any() else named

    def allowed(self, filters: Filters, region: Region) -> np.ndarray | None:
        """Return (N,) bool, or None where nothing is restricted.

        Args:
            filters: the restrictions.
            region: the asked region, whose fracture type is meant.
        """
        masks = [
            self._is(name, value)
            for name, value in (
                ("laterality", filters.laterality),
                ("view", filters.view),
                ("sex", filters.sex),
                (f"{region.value}_fracture_type", filters.fracture_type),
            )
            if value is not None
        ]
        low, high = filters.age_min_years, filters.age_max_years
        masks += [self._ages >= np.float32(low)] if low is not None else []
        masks += [self._ages <= np.float32(high)] if high is not None else []
        masks += [self._days >= _day(filters.date_from)] if filters.date_from is not None else []
        masks += [self._days <= _day(filters.date_to)] if filters.date_to is not None else []
        if filters.exclude_patient is not None:
            masks.append(self._patients != self._patient_codes.get(filters.exclude_patient, -2))
        if filters.exclude_exam is not None:
            masks.append(self._other_than(filters.exclude_exam.encode()))
        if not masks:
            return None
        both = masks[0]
        for mask in masks[1:]:
            both &= mask
        return both

    def _other_than(self, exam_id: bytes) -> np.ndarray:
        """Return the mask without one exam: ids are sorted, and comparing them all costs as much as a scan."""
        mask = np.ones(self._rows, bool)
        at = int(np.searchsorted(self._ids, exam_id))
        if at < self._rows and self._ids[at] == exam_id:
            mask[at] = False
        return mask

    def _is(self, name: str, value: str) -> np.ndarray:
        codes, names = self._words[name]
        same: np.ndarray = codes == names.get(str(value), len(names))
        return same


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, dict[str, int]]:
    """Return words as integers, -1 where there is none, and what each word's is."""
    encoded = pc.dictionary_encode(column.cast(pa.string())).combine_chunks()
    names = {n: i for i, n in enumerate(encoded.dictionary.to_pylist())}
    narrow = np.int8 if len(names) < 127 else np.int32
    return np.asarray(pc.fill_null(encoded.indices, -1)).astype(narrow), names


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.cast(pa.float32(), safe=False).to_numpy(), np.float32)


def _day(date: datetime.date | None) -> np.float32:
    assert date is not None
    return np.float32((date - datetime.date(1970, 1, 1)).days)
