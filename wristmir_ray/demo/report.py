"""The report page: what went through the line, seen rather than said."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Presence, Region
from wristmir_ray.demo.pictures import COLOURS, highlighted, png_uri, with_boxes
from wristmir_ray.evaluation.tables import FigureTable, figure_tables, gallery
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, FINDINGS, HITS, REGIONS, REPORTS

_RUN = {
    "wall_s": "wall time, s",
    "cpu_s": "CPU time of all processes, s",
    "peak_gib": "peak memory, GiB",
    "roi_map50": "wrist detector, mAP50",
    "bone_map50": "bone detector, mAP50",
    "findings_micro_f1": "mined findings, micro-F1 on sealed reports",
}
MODES = {"global": "single stage (whole wrist)", "two_stage": "two stages (wrist, then bone)"}


def write_report(root: str, destination: Path, summary: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Write the self-contained page.

    Args:
        root: where the line published its tables.
        destination: the HTML file.
        summary: what `summary.json` holds.
        extra: further template values: `flow`, `places`, `real`, `real_note`.
    """
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=folder, autoescape=True).get_template("report.html.jinja")
    archive = _Archive(root)
    encoder = storage.published(root, "encoder")
    curves = storage.read_bytes(storage.join(storage.run_uri(root, "encoder", encoder.run_id), "curves.png"))
    page = template.render(
        exams=summary["exams"],
        seed=summary["seed"],
        wall=round(summary["wall_s"]),
        cpu=round(summary["cpu_s"]),
        peak=round(summary["peak_gib"], 1),
        colours=[(n.replace("_", " "), f"rgb{c[::-1]}") for n, c in COLOURS.items()],
        detections=[archive.detection(e) for e in archive.test_exams(6)],
        reports=archive.example_reports(3),
        curves=png_uri(curves),
        queries=[archive.query(bone) for bone in BONES],
        gallery=gallery(summary["retrieval"]),
        tables=_figures(summary),
        **extra,
    )
    storage.write_bytes(str(destination), page.encode())


class _Archive:
    """Looks the report's examples up in the published tables."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._exams = {r["exam_id"]: r for r in storage.read_table(root, EXAMS).to_pylist()}
        self._crops = storage.KeyedReader(root, CROPS)
        self._regions = storage.KeyedReader(root, REGIONS)
        self._captions = storage.KeyedReader(root, CAPTIONS)
        self._hits = storage.read_table(root, HITS)

    def test_exams(self, count: int) -> list[str]:
        """Return held-out exams of different ages."""
        test = [e for e in self._exams.values() if e["split"] == "test"]
        ordered = sorted(test, key=lambda e: (e["age_years"] or 0, e["exam_id"]))
        chosen = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
        return [ordered[i]["exam_id"] for i in chosen]

    def detection(self, exam_id: str) -> dict[str, Any]:
        """Return one radiograph with the boxes found on it."""
        exam = self._exams[exam_id]
        return drawn(exam["source_uri"], self._regions.rows(exam_id), self._who(exam_id))

    def example_reports(self, count: int) -> list[dict[str, Any]]:
        """Return the reports with the most findings, highlighted."""
        found = storage.read_table(self._root, FINDINGS)
        sizes = pc.list_value_length(found["findings"])
        top = found.take(pc.sort_indices(pa.table({"n": sizes}), [("n", "descending")])[:count]).to_pylist()
        keys = [r["report_id"] for r in top]
        rows = storage.read_table(self._root, REPORTS, where=pc.field("report_id").isin(keys)).to_pylist()
        texts = {r["report_id"]: r["text"] for r in rows}
        return [{"text": _safe(_marked(texts[r["report_id"]], r)), "findings": r["findings"]} for r in top]

    def query(self, bone: Region) -> dict[str, Any]:
        """Return a typical held-out query with a fracture of `bone`, and its hits in both modes.

        Typical: the median of all such queries by how many of the ten two-stage hits show a fracture too.
        """
        of_bone = self._hits.filter(pc.field("region") == bone.value)
        captions = storage.read_table(self._root, CAPTIONS, where=pc.field("region") == bone.value)
        of_presence = captions.filter(pc.field("presence") == Presence.PRESENT.value)
        fractured = set(of_presence["exam_id"].to_pylist())
        asked = set(of_bone["query_exam_id"].to_pylist())
        among = asked & fractured or asked
        exam_id = _median_query(of_bone, among, fractured)
        label = self._label(exam_id, bone)
        crops = {c["region"]: c["png"] for c in self._crops.rows(exam_id)}
        modes = [self._mode(of_bone, exam_id, bone, mode, label["presence"]) for mode in MODES]
        return {
            "region": bone.words,
            "among": len(among),
            "caption": label["caption"],
            "who": self._who(exam_id),
            "wrist": png_uri(crops[Region.WRIST]),
            "crop": png_uri(crops[bone]) if crops.get(bone) else png_uri(crops[Region.WRIST]),
            "modes": modes,
        }

    def _mode(self, hits: pa.Table, exam_id: str, bone: Region, mode: str, presence: str | None) -> dict[str, Any]:
        wanted = (pc.field("query_exam_id") == exam_id) & (pc.field("mode") == mode)
        rows = hits.filter(wanted).sort_by("final_rank").to_pylist()[:10]
        shown = [self._hit(r, bone) for r in rows]
        matching = sum((h["presence"] == "present") == (presence == "present") for h in shown)
        return {"name": MODES[mode], "hits": shown, "matching": matching}

    def _hit(self, row: Mapping[str, Any], bone: Region) -> dict[str, Any]:
        crops = {c["region"]: c["png"] for c in self._crops.rows(row["exam_id"])}
        label = self._label(row["exam_id"], bone)
        score = row["region_score"] if row["region_score"] is not None else row["global_score"]
        return {
            "crop": png_uri(crops.get(bone) or crops[Region.WRIST]),
            "presence": label["presence"] or "absent",
            "caption": label["caption"],
            "rank": row["final_rank"],
            "stage1": row["stage1_rank"],
            "score": f"{score:.3f}",
            "who": self._who(row["exam_id"]),
        }

    def _label(self, exam_id: str, bone: Region) -> dict[str, Any]:
        rows = [r for r in self._captions.rows(exam_id) if r["region"] == bone]
        return rows[0] if rows else {"presence": None, "caption": "no caption"}

    def _who(self, exam_id: str) -> str:
        exam = self._exams[exam_id]
        age = "" if exam["age_years"] is None else f", {exam['age_years']:.0f} y"
        return f"{exam['laterality'] or 'side unknown'}{age}"


def _median_query(hits: pa.Table, queries: Set[str], fractured: Set[str]) -> str:
    rows = hits.filter((pc.field("mode") == "two_stage") & (pc.field("final_rank") <= 10)).to_pylist()
    matching = Counter(r["query_exam_id"] for r in rows if r["exam_id"] in fractured)
    return sorted(queries, key=lambda e: (matching[e], e))[(len(queries) - 1) // 2]


def drawn(source_uri: str, regions: Sequence[Mapping[str, Any]], caption: str, height_px: int = 380) -> dict[str, Any]:
    """Return a radiograph with its found boxes as a template entry."""
    radiograph = decode(storage.read_bytes(source_uri), DecodeConfig())
    boxes = {
        r["region"]: Box(r["x0_px"], r["y0_px"], r["x1_px"], r["y1_px"]) for r in regions if r["x0_px"] is not None
    }
    return {
        "image": with_boxes(radiograph.gray, boxes, height_px),
        "height": height_px,
        "caption": caption,
        "exam": caption,
    }


def _marked(text: str, record: Mapping[str, Any]) -> str:
    evidence = list(record["evidence"] or [])
    for finding in record["findings"] or []:
        evidence += finding["evidence"] or []
    return highlighted(text, evidence)


def _safe(text: str) -> Any:
    import markupsafe

    return markupsafe.Markup(text)


def _figures(summary: Mapping[str, Any]) -> list[FigureTable]:
    """Return the run's own figures, then the tables of its evaluation."""
    return [_of_the_run(summary), *figure_tables(summary["retrieval"])]


def _of_the_run(summary: Mapping[str, Any]) -> FigureTable:
    rows = [[title, f"{summary[name]:.3f}"] for name, title in _RUN.items()]
    rows += [
        [f"mined findings, F1 of {n.replace('_', ' ')}", f"{f:.3f}"] for n, f in summary["findings_by_field"].items()
    ]
    return FigureTable("The run", ("figure", "value"), rows)
