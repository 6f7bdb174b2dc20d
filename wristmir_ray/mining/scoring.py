"""How well mined findings agree with the truth (micro precision, recall, F1 over tuples)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIELDS = ("region", "presence", "fracture_type", "displacement", "healing")
_UNKNOWN = "unknown"


def findings_f1(
    predicted: Sequence[Iterable[Mapping[str, Any]] | None],
    truth: Sequence[Iterable[Mapping[str, Any]] | None],
    regions: Iterable[str] = ("distal_radius", "distal_ulna", "ulnar_styloid"),
) -> dict[str, Any]:
    """Score findings report by report.

    A tuple is (report, region, presence, fracture_type, displacement, healing); the tuples of one
    report are a multiset, so that two equal fractures of one bone count twice.
    F1 = 2 TP / (2 TP + FP + FN), over all reports.

    Args:
        predicted: per report, mappings that hold `FIELDS` (rows of FINDINGS.findings); None = rejected.
        truth: the same, in the same order.
        regions: findings elsewhere are left out on both sides.

    Returns:
        precision, recall, f1, tp, fp, fn, reports, exact_reports (share with no error) and
        `fields`: for each field the same figures over (report, region, that field's value).

    Raises:
        ValueError: the sequences differ in length.
    """
    wanted = frozenset(regions)
    pairs = [(_tuples(p, wanted), _tuples(t, wanted)) for p, t in zip(predicted, truth, strict=True)]
    out = _figures([(Counter(p), Counter(t)) for p, t in pairs])
    exact = sum(Counter(p) == Counter(t) for p, t in pairs)
    fields = {
        name: _figures([(Counter((x[0], x[i]) for x in p), Counter((x[0], x[i]) for x in t)) for p, t in pairs])
        for i, name in enumerate(FIELDS)
    }
    return {**out, "reports": len(pairs), "exact_reports": exact / len(pairs) if pairs else 0.0, "fields": fields}


def disagreements(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the `FIELDS` in which two readings of one report differ, as multisets of (region, value), all places."""
    a, b = ([tuple(str(f.get(n) or _UNKNOWN) for n in FIELDS) for f in found] for found in (one, other))
    return [n for i, n in enumerate(FIELDS) if Counter((x[0], x[i]) for x in a) != Counter((x[0], x[i]) for x in b)]


def _tuples(findings: Iterable[Mapping[str, Any]] | None, wanted: frozenset[str]) -> list[tuple[str, ...]]:
    rows = [tuple(str(f.get(name) or _UNKNOWN) for name in FIELDS) for f in findings or ()]
    return [r for r in rows if r[0] in wanted]


def _figures(pairs: Sequence[tuple[Counter[Any], Counter[Any]]]) -> dict[str, Any]:
    tp = sum((p & t).total() for p, t in pairs)
    fp = sum((p - t).total() for p, t in pairs)
    fn = sum((t - p).total() for p, t in pairs)
    return {
        "precision": tp / (tp + fp) if tp + fp else 0.0,
        "recall": tp / (tp + fn) if tp + fn else 0.0,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0,
        "tp": tp,
        "fp": fp,
        "fn": fn,
    }
