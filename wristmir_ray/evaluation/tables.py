"""The figures as Markdown, the paper's beside them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation import paper

MODES = ("single_stage", "two_stage", "region_only")
OURS = "this archive"
PAPER = "paper"
NOTE = (
    f'"{OURS}" is a phantom archive or your own, and other data than the paper\'s: '
    f'rows named "{PAPER}" stand there for orientation only. In brackets: 95 % intervals by patient. '
    "Chance: 95 % of the figures that the two-stage hits reach when labels are shuffled."
)
_NAMES = {"reciprocal_rank": "mAP (one correct caption: mean reciprocal rank)"}


@dataclass(frozen=True)
class FigureTable:
    """One table of an evaluation."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return it under a heading."""
        lines = (self.head, ["---"] * len(self.head), *self.rows)
        return "\n".join([f"## {self.title}\n", *(f"| {' | '.join(line)} |" for line in lines), ""])


def markdown(figures: Mapping[str, Any]) -> str:
    """Return every table of one evaluation."""
    parts = [f"# Evaluation\n\n{NOTE}\n\n{gallery(figures)}\n", *(table.markdown() for table in figure_tables(figures))]
    return "\n".join(parts)


def figure_tables(figures: Mapping[str, Any]) -> Iterator[FigureTable]:
    """Yield every table, in the order in which they are read."""
    yield _queries(figures)
    for name, title in _RETRIEVAL.items():
        yield _retrieval(figures, name, title)
    yield _paired(figures)
    yield _consistency(figures)
    if figures["image_to_text"]["queries"]:
        yield _ranking(figures["image_to_text"])
        yield _ranking_by_region(figures["image_to_text"])
    yield _probe(figures["linear_probe"])


def gallery(figures: Mapping[str, Any]) -> str:
    """Return in one sentence who was asked and who could be found."""
    captions = "" if figures["image_to_text"]["queries"] else " No exam has a caption."
    return (
        f"{figures['queries']} queries of {figures['patients']} held-out patients, gallery {figures['gallery']} "
        f"(mean, own patient left out), pool {figures['pool']}: pool / gallery {figures['pool_share']} "
        f"(paper {paper.POOL_SHARE}).{captions}"
    )


_RETRIEVAL = {
    "diagnosis_f1": "Diagnosis by retrieval, F1",
    "binary_match": "Binary fracture matching",
    "class_match": "Fracture class matching",
    "vote_accuracy": "Majority vote, accuracy",
    "positive_binary_match": "Binary fracture matching, queries with a fracture of the region",
    "positive_class_match": "Fracture class matching, queries with a fracture of the region",
    "positive_vote_accuracy": "Majority vote, accuracy, queries with a fracture of the region",
}


def _queries(figures: Mapping[str, Any]) -> FigureTable:
    names = ("queries", "positive_queries", "uncertain_excluded", "without_caption", "query_region_not_found")
    rows = [_row(bone.words, *(figures["regions"][bone.value][n] for n in names)) for bone in BONES]
    return FigureTable("Queries", ("region", *(n.replace("_", " ") for n in names)), rows)


def _row(*cells: Any) -> list[str]:
    return [str(c) for c in cells]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_interval(figure: Mapping[str, Any]) -> str:
    return f"{_number(figure['value'])} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _retrieval(figures: Mapping[str, Any], name: str, title: str) -> FigureTable:
    rows = []
    for bone in BONES:
        own = figures["regions"][bone.value]
        chance = own["two_stage"]["chance"][name]
        level = f"{_number(chance['low'])} to {_number(chance['high'])}"
        rows.append(_row(bone.words, OURS, *(_with_interval(own[mode][name]) for mode in MODES), level))
        if name in paper.BY_BONE:
            rows.append(_row(bone.words, PAPER, *(_number(p) for p in paper.BY_BONE[name][bone.value]), ""))
    return FigureTable(title, ("region", "data", *(m.replace("_", " ") for m in MODES), "chance"), rows)


def _paired(figures: Mapping[str, Any]) -> FigureTable:
    names = ("diagnosis_f1", "binary_match", "class_match", "vote_accuracy")
    rows = [
        _row(bone.words, title.replace("_", " "), *(_with_interval(d[n]) for n in names), d["binary_match"]["n"])
        for bone in BONES
        for title, d in figures["paired"][bone.value].items()
    ]
    head = ("region", "difference", *(n.replace("_", " ") for n in names), "n")
    return FigureTable("Paired differences", head, rows)


def _consistency(figures: Mapping[str, Any]) -> FigureTable:
    rows = []
    for bone in BONES:
        for mode, f in figures["consistency"][bone.value].items():
            cells = (_with_interval(f["same_side_share"]), _with_interval(f["age_gap_years"]))
            rows.append(_row(bone.words, mode.replace("_", " "), *cells))
    chance = figures["consistency"]["chance"]
    cells = (_with_interval(chance["same_side_share"]), _with_interval(chance["age_gap_years"]))
    rows.append(_row("any", "chance", *cells))
    return FigureTable("What stage 1 is for", ("region", "mode", "same side", "age gap, years"), rows)


def _ranking(figures: Mapping[str, Any]) -> FigureTable:
    rows = []
    for name in figures["unmerged"]:
        shown = [figures["unmerged"], figures["merged"], figures["by_pair"]["unmerged"], figures["by_pair"]["merged"]]
        rows.append(_row(_NAMES.get(name, name), *(_with_interval(f[name]) for f in shown), _of_paper(name)))
    title = f"Image to text, {figures['gallery']} captions, {figures['distinct_captions']} distinct"
    head = ("figure", "unmerged", "merged", "unmerged, by pair", "merged, by pair", PAPER)
    return FigureTable(title, head, rows)


def _of_paper(name: str) -> str:
    return _number(paper.CAPTIONS.get(name))


def _ranking_by_region(figures: Mapping[str, Any]) -> FigureTable:
    parts = figures["by_region"]
    rows = [
        _row(_NAMES.get(name, name), kind, *(_with_interval(part[kind][name]) for part in parts.values()))
        for kind in ("unmerged", "merged")
        for name in figures[kind]
    ]
    head = ("figure", "captions", *(f"{r.replace('_', ' ')} (n {p['queries']})" for r, p in parts.items()))
    return FigureTable("Image to text by region of the query", head, rows)


def _probe(figures: Mapping[str, Any]) -> FigureTable:
    names = ("auroc", "auprc", "f1", "prevalence", "n_train", "n_test")
    rows = []
    for region, f in figures.items():
        rows.append(_row(region.replace("_", " "), OURS, *(f.get(n, "-") for n in names)))
        if region == Region.WRIST:
            rows.append(_row("wrist", PAPER, *(paper.PROBE.get(n, "-") for n in names)))
    head = ("embedding", "data", *(n.replace("_", " ") for n in names))
    return FigureTable("Linear probe: any fracture (wrist), a fracture of the region (bones)", head, rows)
