"""The automatic part of the audit: counts over all rows of AUDIT, and of seeded fabrications."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pyarrow.dataset as pads

from wristmir_ray.audit.checks import Kind, check_record, lost_quotes
from wristmir_ray.audit.exams import CAPTION
from wristmir_ray.audit.fabrications import Fabrication, Source, fabricate
from wristmir_ray.metrics.proportion import wilson
from wristmir_ray.mining.findings import Field_
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.scoring import FIELDS

ALL = "all"
"""The sum of all kinds of fabrications."""
_NAMES: tuple[str, ...] = (*get_args(Field_), CAPTION)
_COLUMNS = ["error", "engine", "fields", "quotes", "quotes_lost", "conflicts", "rules_disagree", "trusted"]


def automatic(fragments: pads.Dataset | None) -> dict[str, Any]:
    """Return the figures of all reports, read batch by batch."""
    rows = (row for b in fragments.to_batches(columns=_COLUMNS) for row in b.to_pylist()) if fragments else ()
    return count(rows)


def count(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of rows of AUDIT.

    Returns:
        reports, rejected, engines, values, quotes, ungrounded_share (of quotes), trusted (reports
        without a conflict), fields: field -> {values, in_doubt (values with a conflict), kinds: kind ->
        values}, report_kinds: field.kind -> reports, disagree: field -> reports in which the record
        and the rules differ.
    """
    counts = _Counts()
    for row in rows:
        counts.add(row)
    total, good = counts.total, counts.total["reports"] - counts.total["rejected"]
    return {
        "reports": total["reports"],
        "rejected": total["rejected"],
        "engines": dict(sorted(counts.engines.items())),
        "values": counts.stated.total(),
        "quotes": total["quotes"],
        "ungrounded_share": round(total["quotes_lost"] / max(total["quotes"], 1), 5),
        "trusted": total["trusted"],
        "trusted_share": round(total["trusted"] / max(good, 1), 5),
        "fields": {n: counts.field(n) for n in _NAMES if counts.stated[n] or counts.doubted[n]},
        "report_kinds": dict(sorted(counts.reports.items())),
        "disagree": {n: wilson(counts.differ[n], good).as_dict() for n in FIELDS},
    }


class _Counts:
    """The rows of AUDIT so far."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()
        self.engines: Counter[str] = Counter()
        self.stated: Counter[str] = Counter()
        self.doubted: Counter[str] = Counter()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self.reports: Counter[str] = Counter()
        self.differ: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one row; of a rejected report nothing but that."""
        self.total["reports"] += 1
        if row["error"] is not None:
            self.total["rejected"] += 1
            return
        self.engines[row["engine"]] += 1
        self.total.update({n: row[n] for n in ("quotes", "quotes_lost", "trusted")})
        self.stated.update(row["fields"])
        conflicts = row["conflicts"]
        self.doubted.update(f for _, f in {(c["finding"], c["field"]) for c in conflicts})
        self.kinds.update((c["field"], c["kind"]) for c in conflicts)
        self.reports.update({f"{c['field']}.{c['kind']}" for c in conflicts})
        self.differ.update(row["rules_disagree"])

    def field(self, name: str) -> dict[str, Any]:
        """Return the figures of one field."""
        own = {k.value: self.kinds[name, k.value] for k in Kind if self.kinds[name, k.value]}
        return {"values": self.stated[name], "in_doubt": self.doubted[name], "kinds": own}


def by_rules(figures: Mapping[str, Any]) -> bool:
    """Whether the records of these figures are the `rules` engine's, thus the second reader's own."""
    return set(figures["engines"]) <= {"rules"}


def seed_fabrications(sources: Sequence[Source], seed: int, own: bool) -> dict[str, dict[str, Any]]:
    """Return, kind by kind, how many fabrications the checks catch: one a kind in each record.

    Caught is what brings a conflict that the record had not before. Certain by construction is what needs no
    reading: a quote that does not stand where it is said to; and, where the records are the second reader's own,
    all that it tells, for it reads what it has read before.

    Args:
        sources: reports with the records an engine made of them.
        seed: same seed and sources, same fabrications.
        own: the records are the second reader's own.

    Returns:
        kind, and `all` for their sum -> {caught, value, low, high, n, not_certain}; `not_certain` holds the same
        five of the fabrications whose quotes stand, caught, where `own`, by a second reader that errs alike.
    """
    every: Counter[tuple[str, bool]] = Counter()
    not_certain: Counter[tuple[str, bool]] = Counter()
    for at, source in enumerate(sources):
        passages, record = source.passages, source.record
        second = mine(passages.report)
        had, lost = set(check_record(passages, record, second)), lost_quotes(passages, record)[1]
        for k, kind in enumerate(Fabrication):
            made = fabricate(source, kind, np.random.default_rng((seed, at, k)))
            if made is None:
                continue
            every[kind, not had.issuperset(check_record(passages, made, second))] += 1
            if lost_quotes(passages, made)[1] <= lost:
                alike = made if own else second
                not_certain[kind, not had.issuperset(check_record(passages, made, alike))] += 1
    names = [*(k.value for k in Fabrication), ALL]
    return {name: {**_share(every, name), "not_certain": _share(not_certain, name)} for name in names}


def _share(counts: Mapping[tuple[str, bool], int], name: str) -> dict[str, Any]:
    caught, missed = (sum(n for (k, c), n in counts.items() if c is yes and name in {k, ALL}) for yes in (True, False))
    return {"caught": caught, **wilson(caught, caught + missed).as_dict()}
