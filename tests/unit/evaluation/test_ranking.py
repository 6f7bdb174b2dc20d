"""Image-to-text ranking, the probe, and the page of tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.unit.evaluation.made_up import archive, figures_of
from wristmir_ray.anatomy import Region
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.evaluation.probe import linear_probe
from wristmir_ray.evaluation.ranking import CaptionVectors, caption_ranking, distinct_captions
from wristmir_ray.evaluation.tables import OURS, PAPER, markdown


class Oracle:
    """Gives each caption the mean vector of its images."""

    def __init__(self, world: Archive) -> None:
        self._world = world

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        out = []
        for text in texts:
            region = next(r for r in Region if text.startswith(r.words))
            out.append(np.nanmean(self._world.vectors[region][self._world.captions[region] == text], 0))
        return np.stack(out)


def _ranked(world: Archive, ks: Sequence[int] = (1, 5)) -> dict[str, Any]:
    texts = distinct_captions(world, world.rows("test"))
    vectors = Oracle(world)(texts) if texts else np.zeros((0, 0), np.float32)
    return caption_ranking(world, world.rows("test"), CaptionVectors(texts, vectors), ks, 200, 0)


def test_captions_rank_by_likeness() -> None:
    found = _ranked(archive())
    assert found["distinct_captions"] == 8
    assert found["queries"] == found["gallery"] == 160 * 4
    assert found["merged"]["recall@5"]["value"] > 0.9
    assert found["unmerged"]["recall@5"]["value"] < 0.2 < found["merged"]["recall@1"]["value"]


def test_figures_equal_a_gallery_written_out() -> None:
    """Unmerged: every copy is an entry, and a tie is a lottery. Counted here entry by entry."""
    world = archive(exams=30, signal=1.0)
    pairs = [(q, r) for r in Region for q in world.rows("test")]
    texts = [world.captions[r][q] for q, r in pairs]
    distinct = sorted(set(texts))
    vector = dict(zip(distinct, Oracle(world)(distinct), strict=True))
    ranks, recall = [], []
    for (q, r), own in zip(pairs, texts, strict=True):
        score = {t: float(world.vectors[r][q] @ v) for t, v in vector.items()}
        higher = sum(score[t] > score[own] for t in texts)
        equal = texts.count(own)
        ranks.append(higher + (equal + 1) / 2)
        recall.append(np.mean([rank <= 5 for rank in range(higher + 1, higher + equal + 1)]))
    found = _ranked(world)["unmerged"]
    assert found["mean_rank"]["value"] == pytest.approx(np.mean(ranks), abs=1e-3)
    assert found["median_rank"]["value"] == pytest.approx(np.median(ranks), abs=1e-3)
    assert found["recall@5"]["value"] == pytest.approx(np.mean(recall), abs=1e-4)


def test_regions_share_the_gallery_and_make_up_the_whole() -> None:
    found = _ranked(archive(missing=0.3))
    parts = found["by_region"]
    assert set(parts) == {r.value for r in Region}
    assert sum(p["queries"] for p in parts.values()) == found["queries"] < 160 * 4
    for kind in ("unmerged", "merged"):
        mean = sum(p["queries"] * p[kind]["mean_rank"]["value"] for p in parts.values()) / found["queries"]
        assert mean == pytest.approx(found[kind]["mean_rank"]["value"], abs=1e-3)


def test_pairs_drawn_alone_give_the_same_figure_with_another_interval() -> None:
    found = _ranked(archive(signal=1.0))
    for name, figure in found["merged"].items():
        alone = found["by_pair"]["merged"][name]
        assert alone["value"] == figure["value"]
        assert alone["n"] == figure["n"]
    assert found["by_pair"]["merged"]["mean_rank"] != found["merged"]["mean_rank"]


def test_an_archive_without_captions_has_no_ranking() -> None:
    world = archive(exams=30)
    for captions in world.captions.values():
        captions[:] = None
    assert _ranked(world) == {"queries": 0}
    page = markdown({**figures_of(world), "image_to_text": {"queries": 0}, "linear_probe": {}})
    assert "No exam has a caption" in page


def test_the_probe_reads_the_label_where_there_is_one() -> None:
    world = archive()
    probe = linear_probe(world, world.rows("test"))
    assert probe["distal_radius"]["auroc"] > 0.95
    assert probe["distal_radius"]["n_train"] == 80
    blind = archive(shuffle=True)
    assert abs(linear_probe(blind, blind.rows("test"))["distal_radius"]["auroc"] - 0.5) < 0.15
    world.present[Region.DISTAL_ULNA][:] = 1
    assert "one class" in linear_probe(world, world.rows("test"))["distal_ulna"]["note"]


def test_the_page_keeps_ours_and_the_papers_figures_in_rows_of_their_own() -> None:
    world = archive()
    figures = {
        **figures_of(world),
        "image_to_text": _ranked(world, (5, 10)),
        "linear_probe": linear_probe(world, world.rows("test")),
    }
    page = markdown(figures)
    assert "phantom archive or your own" in page
    assert "other data than the paper's" in page
    assert f"pool / gallery {figures['pool_share']}" in page
    rows = [line for line in page.splitlines() if line.startswith("| distal radius |")]
    paper = [row for row in rows if f"| {PAPER} |" in row]
    assert [row.split("|")[3:6] for row in paper][:2] == [
        [" 0.897 ", " 0.934 ", " - "],
        [" 0.824 ", " 0.864 ", " 0.892 "],
    ]
    assert not any(OURS in row for row in paper)
    widths = {line.count("|") for line in page.split("## ")[2].splitlines() if line.startswith("|")}
    assert len(widths) == 1
