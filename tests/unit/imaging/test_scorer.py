"""The weights that are shipped fit the figures, and the program that makes them learns what rows differ in."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.overlays import fit, train
from tests.overlays.harvest import NONE, TEXT, Harvest
from wristmir_ray.imaging.rows import RowFigures
from wristmir_ray.imaging.scorer import FILE, NAMES, load_scorer


def _harvest(exams: int = 60, seed: int = 0) -> Harvest:
    """Rows of chance; in the exams with text the first of three lies within a shell that no single bound describes."""
    rng = np.random.default_rng(seed)
    figures = rng.uniform(-1, 1, (3 * exams, len(NAMES))).astype(np.float32)
    owners = np.repeat(np.arange(exams), 3)
    truth = np.where((owners % 2 == 1) & (np.arange(3 * exams) % 3 == 0), TEXT, NONE)
    figures[:, 0] = np.where(truth == TEXT, rng.uniform(-0.3, 0.3, len(truth)), np.sign(figures[:, 0]))
    return Harvest(figures, truth, owners, np.arange(exams) % 2 == 1)


def test_the_shipped_weights_are_of_these_figures() -> None:
    scorer = load_scorer()
    assert [f.name for f in fields(RowFigures)] == list(NAMES)
    assert scorer.hidden.shape == (len(NAMES), len(scorer.bias))
    assert (scorer.low < scorer.high).all()
    assert FILE.stat().st_size < 30_000


def test_scores_are_bounded_and_blind_beyond_the_bounds() -> None:
    scorer = load_scorer()
    far = np.stack([scorer.low - 1e6, scorer.high + 1e6])
    assert np.array_equal(scorer.scores(far), scorer.scores(np.stack([scorer.low, scorer.high])))
    assert ((scorer.scores(far) >= 0) & (scorer.scores(far) <= 1)).all()


def test_training_finds_what_is_not_additive_and_the_file_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "STEPS", 40)
    monkeypatch.setattr(fit, "FILE", tmp_path / "weights.json")
    harvest = _harvest()
    fit.make(harvest, harvest.of(~harvest.has_text))
    scorer = load_scorer(tmp_path / "weights.json")
    best = harvest.best(scorer.margins(harvest.figures))
    assert (best[harvest.has_text] > best[~harvest.has_text].max()).mean() > 0.9


def test_an_exam_without_rows_has_no_text() -> None:
    harvest = Harvest(np.zeros((0, len(NAMES))), np.zeros(0, int), np.zeros(0, int), np.array([False, True]))
    assert np.isneginf(harvest.best(np.zeros(0))).all()
