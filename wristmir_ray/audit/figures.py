"""The automatic part of the audit: counts over all rows of AUDIT, and of seeded fabrications."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pyarrow.dataset as pads

from wristmir_ray.audit.checks import Kind, check_record
from wristmir_ray.audit.exams import CAPTION
from wristmir_ray.audit.fabrications import Fabrication, Source, fabricate
from wristmir_ray.metrics.proportion import wilson
from wristmir_ray.mining.findings import Field_
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.scoring import FIELDS

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
    total: Counter[str] = Counter()
    engines: Counter[str] = Counter()
    stated: Counter[str] = Counter()
    doubted: Counter[str] = Counter()
    kinds: Counter[tuple[str, str]] = Counter()
    reports: Counter[str] = Counter()
    differ: Counter[str] = Counter()
    for row in rows:
        total["reports"] += 1
        if row["error"] is not None:
            total["rejected"] += 1
            continue
        engines[row["engine"]] += 1
        total.update({n: row[n] for n in ("quotes", "quotes_lost", "trusted")})
        stated.update(row["fields"])
        conflicts = row["conflicts"]
        doubted.update(f for _, f in {(c["finding"], c["field"]) for c in conflicts})
        kinds.update((c["field"], c["kind"]) for c in conflicts)
        reports.update({f"{c['field']}.{c['kind']}" for c in conflicts})
        differ.update(row["rules_disagree"])
    good = total["reports"] - total["rejected"]
    return {
        "reports": total["reports"],
        "rejected": total["rejected"],
        "engines": dict(sorted(engines.items())),
        "values": stated.total(),
        "quotes": total["quotes"],
        "ungrounded_share": round(total["quotes_lost"] / max(total["quotes"], 1), 5),
        "trusted": total["trusted"],
        "trusted_share": round(total["trusted"] / max(good, 1), 5),
        "fields": {name: _field(name, stated, doubted, kinds) for name in _NAMES if stated[name] or doubted[name]},
        "report_kinds": dict(sorted(reports.items())),
        "disagree": {n: wilson(differ[n], good).as_dict() for n in FIELDS},
    }


def _field(name: str, stated: Counter[str], doubted: Counter[str], kinds: Counter[tuple[str, str]]) -> dict[str, Any]:
    own = {k.value: kinds[name, k.value] for k in Kind if kinds[name, k.value]}
    return {"values": stated[name], "in_doubt": doubted[name], "kinds": own}


def seed_fabrications(sources: Sequence[Source], seed: int) -> dict[str, dict[str, Any]]:
    """Return, kind by kind, how many fabrications the checks catch: one a kind in each record that they trust.

    Args:
        sources: reports with the records an engine made of them.
        seed: same seed and sources, same fabrications.
    """
    tried: Counter[Fabrication] = Counter()
    caught: Counter[Fabrication] = Counter()
    for at, source in enumerate(sources):
        second = mine(source.passages.report)
        if check_record(source.passages, source.record, second):
            continue
        for k, kind in enumerate(Fabrication):
            made = fabricate(source, kind, np.random.default_rng((seed, at, k)))
            if made is not None:
                tried[kind] += 1
                caught[kind] += bool(check_record(source.passages, made, second))
    rows = {k.value: (caught[k], tried[k]) for k in Fabrication} | {"all": (caught.total(), tried.total())}
    return {name: {"caught": c, **wilson(c, n).as_dict()} for name, (c, n) in rows.items()}
