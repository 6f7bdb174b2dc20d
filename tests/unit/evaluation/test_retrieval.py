"""Evaluation on made-up archives whose right answer is known."""

import numpy as np
import pytest

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.evaluation.ranking import caption_ranking, linear_probe
from wristmir_ray.evaluation.retrieval import NO_HIT, chance_level, evaluate_bones, retrieve
from wristmir_ray.evaluation.tables import markdown
from wristmir_ray.search import Mode


def _archive(exams: int = 240, signal: float = 6.0, seed: int = 0, shuffle: bool = False) -> Archive:
    """Bones' vectors hold the label as strongly as `signal`; wrists' vectors hold the side only."""
    rng = np.random.default_rng(seed)
    labels = {r: rng.integers(0, 2, exams) for r in Region}
    sides = rng.integers(0, 2, exams)

    def vectors(bit: np.ndarray, strength: float) -> np.ndarray:
        raw = rng.normal(size=(exams, 16))
        raw[:, 0] += strength * (2 * bit - 1)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    found = {r: vectors(labels[r], signal) for r in BONES}
    found[Region.WRIST] = vectors(sides, 6.0)
    known = {r: rng.permutation(v) if shuffle else v for r, v in labels.items()}
    return Archive(
        exam_ids=np.array([f"e{i:04d}" for i in range(exams)]),
        patients=np.array([f"p{i // 2}" for i in range(exams)]),
        splits=np.array(["test" if i % 3 else "train" for i in range(exams)]),
        sides=np.array(["left", "right"], object)[sides],
        ages_years=rng.uniform(2, 17, exams),
        vectors=found,
        present=known,
        classes={r: v * 3 for r, v in known.items()},
        captions={r: np.array([f"{r.words} {x}" for x in v], object) for r, v in known.items()},
    )


def _figures(archive: Archive) -> dict[str, object]:
    return evaluate_bones(archive, archive.rows("test"), pool=40, k=10, resamples=200, seed=0)[0]


def test_the_second_stage_gains_what_only_the_bone_shows() -> None:
    figures = _figures(_archive())
    for bone in BONES:
        own = figures["regions"][bone.value]
        assert own["two_stage"]["diagnosis_f1"]["value"] > 0.95
        assert own["single_stage"]["diagnosis_f1"]["value"] < 0.7
        difference = figures["paired"][bone.value]["two_stage_minus_single_stage"]["diagnosis_f1"]
        assert difference["low"] > 0
    consistency = figures["consistency"]
    assert consistency["distal_radius"]["two_stage"]["same_side_share"] > 0.9
    assert abs(consistency["chance"]["same_side_share"] - 0.5) < 0.1


def test_with_shuffled_labels_every_figure_falls_to_chance() -> None:
    figures = _figures(_archive(exams=600, shuffle=True))
    for bone in BONES:
        own = figures["regions"][bone.value]
        for mode in ("single_stage", "two_stage", "region_only"):
            match = own[mode]["binary_match"]
            assert match["low"] - 0.03 <= own["chance"]["binary_match"] <= match["high"] + 0.03
            assert own[mode]["diagnosis_f1"]["value"] < 0.65
            assert abs(own[mode]["vote_accuracy"]["value"] - 0.5) < 0.1


def test_a_query_never_finds_its_own_patient() -> None:
    archive = _archive()
    queries = archive.rows("test")
    for mode in Mode:
        rows = retrieve(archive, queries, Region.DISTAL_ULNA, mode, 40, 10).rows
        assert (rows != NO_HIT).all()
        assert not (archive.patients[rows] == archive.patients[queries][:, None]).any()
        assert np.isin(rows, queries).all()


def test_uncertain_labels_are_excluded_and_counted() -> None:
    archive = _archive()
    queries = archive.rows("test")
    archive.present[Region.DISTAL_RADIUS][queries[:5]] = -1
    archive.classes[Region.DISTAL_RADIUS][queries[:5]] = -1
    own = _figures(archive)["regions"]["distal_radius"]
    assert own["uncertain_excluded"] == 5
    assert own["queries"] == len(queries) - 5


def test_chance_is_the_share_of_equal_labels_among_others() -> None:
    present = np.array([1, 1, 0, 0])
    level = chance_level(present, np.array(["a", "b", "c", "d"]))
    assert level["binary_match"] == pytest.approx(1 / 3, abs=1e-4)


def test_captions_rank_by_likeness_and_probe_reads_the_label() -> None:
    archive = _archive()
    queries = archive.rows("test")

    def oracle(texts: list[str]) -> np.ndarray:
        """Each caption's vector is the mean of its images'."""
        out = []
        for text in texts:
            region = next(r for r in Region if text.startswith(r.words))
            same = np.flatnonzero(archive.captions[region] == text)
            out.append(archive.vectors[region][same].mean(0))
        return np.stack(out)

    found = caption_ranking(archive, queries, oracle, [1, 5], 200, 0)
    assert found["distinct_captions"] == 8
    assert found["merged"]["recall@5"]["value"] > 0.9
    assert found["unmerged"]["recall@5"]["value"] < found["merged"]["recall@5"]["value"]
    probe = linear_probe(archive, queries)
    assert probe["distal_radius"]["auroc"] > 0.95
    page = markdown({**_figures(archive), "image_to_text": found, "linear_probe": probe})
    assert "other data" in page
    assert page.count("|") > 100
