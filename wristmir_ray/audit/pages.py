"""The audit's figures as Markdown. They hold counts alone: no report text."""

from collections.abc import Mapping, Sequence
from typing import Any

from wristmir_ray.audit.checks import Kind
from wristmir_ray.audit.exams import CAPTION
from wristmir_ray.audit.figures import ALL, by_rules

_BY_CONSTRUCTION = (
    "These records come from the `rules` engine itself, which is also the second reader: disagreement, negation, "
    "hedging, unread and doubled findings are zero by construction and say nothing of its errors. The sheet does."
)
_SECOND = (
    "The second reader is the deterministic `rules` engine. A disagreement is an error of one of the two; the sheet "
    "tells which."
)
_CERTAIN = (
    "Certain by construction is a quote that does not stand where it is said to, by looking it up: the last three "
    "columns leave such quotes out."
)
_CERTAIN_OWN = (
    "Certain by construction are a quote that does not stand where it is said to, by looking it up, and all that the "
    "second reader tells, these records being its own: the last three columns leave such quotes out, and let the "
    "second reader read what was made up."
)
_MARKING = (
    "Open `sheet.html` of this run in a browser, mark each value, download the marks, and import them: "
    "`python jobs/audit_reports.py --root ROOT --marks marks.json`. It holds report text: it stays in the archive."
)
_WEIGHTS = (
    "Archive: each report weighs as many reports of its stratum (status, presence, trusted) as it stands for. "
    "Intervals: Wilson, 95 %; values of one report are taken as independent, so they are somewhat narrow."
)


def audit_page(figures: Mapping[str, Any]) -> str:
    """Return the page of the automatic part."""
    f = figures
    overview = [
        ["reports", f"{f['reports']:,}"],
        ["of these rejected by mining", f"{f['rejected']:,}"],
        ["engine", ", ".join(f"{n} ({k:,})" for n, k in f["engines"].items())],
        ["values", f"{f['values']:,}"],
        ["quotes", f"{f['quotes']:,}"],
        ["quotes that do not stand where the record says", _percent(f["ungrounded_share"])],
        ["reports without a conflict (trusted)", f"{f['trusted']:,} ({_percent(f['trusted_share'])})"],
    ]
    parts = [
        "# Audit of mined reports",
        table(("", ""), overview),
        "## Values in doubt, by field",
        _in_doubt(f["fields"]),
        "## Negation and laterality",
        _conflicts(f["report_kinds"]),
        "## Record against rules",
        _BY_CONSTRUCTION if by_rules(f) else _SECOND,
        table(("field", "reports that differ"), [[_words(n), _share(s)] for n, s in f["disagree"].items()]),
        "## Seeded fabrications",
        f"Made up in the records of the sample, one of a kind in each, seed {f['seed']}. Caught: the checks find a "
        f"conflict that the record had not before. {_CERTAIN_OWN if by_rules(f) else _CERTAIN}",
        f"Caught of what is not certain: **{_share(f['fabrications'][ALL]['not_certain'])}**.",
        _fabrications(f["fabrications"]),
        "## Marking by people",
        f"{f['sample']} reports are on the sheet. {_MARKING}",
    ]
    return "\n\n".join(parts) + "\n"


def marks_page(figures: Mapping[str, Any], curve_file: str) -> str:
    """Return the page of what people marked."""
    head = ("field", "marked", "right", "wrong", "hallucinated", "hallucination rate", "in the archive")
    fields = {**figures["fields"], "all": figures["all"]}
    rows = [
        [_words(n), r["n"], r["right"], r["wrong"], r["hallucinated"], _share(r["rate"]), _share(r["archive"])]
        for n, r in fields.items()
    ]
    steps = [
        [
            p["conflicts"],
            p["record_conflicts"],
            "yes" if p["agrees"] else "no",
            _percent(p["coverage"]),
            _share(p["accuracy"]),
        ]
        for p in figures["curve"]
    ]
    parts = [
        "# Marked sample of mined reports",
        f"{figures['all']['n']:,} values of {figures['reports']:,} reports; audit run {figures['audit']}.",
        table(head, rows),
        _WEIGHTS,
        "## Accuracy against coverage",
        "Values in order of trust: fewest conflicts of the value, then of its record, then agreement with the rules. A "
        "row keeps all values down to this one; accuracy is the share of them marked right.",
        table(("conflicts of the value", "of its record", "rules agree", "coverage", "accuracy"), steps),
        f"![accuracy against coverage]({curve_file})",
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(c) for c in line)} |" for line in lines)


def _fabrications(kinds: Mapping[str, Any]) -> str:
    def cells(s: Mapping[str, Any]) -> list[Any]:
        return [s["n"], s["caught"], _share(s)]

    head = ("made up", "seeded", "caught", "share", "not certain", "caught", "share")
    return table(head, [[_words(n), *cells(s), *cells(s["not_certain"])] for n, s in kinds.items()])


def _in_doubt(fields: Mapping[str, Any]) -> str:
    kinds = [k.value for k in Kind if any(k.value in f["kinds"] for f in fields.values())]
    rows = []
    for name, f in fields.items():
        share = f"{f['in_doubt']:,} ({_percent(f['in_doubt'] / f['values'])})" if f["values"] else f"{f['in_doubt']:,}"
        rows.append(
            [_words(name), f"{f['values']:,}" if f["values"] else "", share, *(f["kinds"].get(k, 0) for k in kinds)]
        )
    return table(("field", "values", "in doubt", *kinds), rows)


def _conflicts(reports: Mapping[str, int]) -> str:
    """Return how many reports have a conflict, by what is compared with what."""

    def count(field: str, kind: Kind) -> str:
        return str(reports.get(f"{field}.{kind.value}", 0))

    return table(
        ("reports in which ...", "negation", "side"),
        [
            ["record and report differ", count("presence", Kind.NEGATION), count("side", Kind.LATERALITY)],
            ["record and the exam's metadata differ", "", count("side", Kind.METADATA)],
            ["caption and report differ", count(CAPTION, Kind.NEGATION), count(CAPTION, Kind.LATERALITY)],
            ["caption and the exam's metadata differ", "", count(CAPTION, Kind.METADATA)],
        ],
    )


def _share(interval: Mapping[str, Any]) -> str:
    if interval["value"] is None:
        return "-"
    return f"{_percent(interval['value'])} [{_percent(interval['low'])}, {_percent(interval['high'])}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _words(name: str) -> str:
    return name.replace("_", " ")
