"""The threshold of `no similar case`: its error rate on held-out queries is the promised one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.retrieval.made_up import DIM, publish, vectors_of
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.retrieval.threshold import calibrate, conformal
from wristmir_ray.search import Mode

ALPHA = 0.2


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_of_the_calibration_scores_no_more_than_promised_lie_below(scores: list[float], alpha: float) -> None:
    below = sum(s < conformal(scores, alpha) for s in scores)
    assert below <= alpha * (len(scores) + 1)


def test_the_error_rate_lies_in_the_promised_interval() -> None:
    """Over many draws of n calibration scores and one more: between alpha - 1 / (n + 1) and alpha."""
    rng = np.random.default_rng(0)
    draws, n, alpha = 40_000, 40, 0.1
    scores = rng.beta(5, 2, (draws, n + 1))
    wrong = np.mean([s[-1] < conformal(s[:-1], alpha) for s in scores])
    sigma = (alpha * (1 - alpha) / draws) ** 0.5
    assert alpha - 1 / (n + 1) - 4 * sigma < wrong < alpha + 4 * sigma


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    root = str(tmp_path_factory.mktemp("index"))
    return publish(root, np.arange(450), IndexConfig(kind=Kind.EXACT, alpha=ALPHA, calibration_queries=75, pool=30))


@pytest.mark.parametrize("mode", list(Mode))
def test_exams_that_calibrated_nothing_are_turned_away_at_the_promised_rate(index: Index, mode: Mode) -> None:
    """Within four standard deviations: of 150 patients' errors, and of a threshold from 75 patients."""
    answers = []
    for patient in range(150):
        exam = f"{3 * patient + 1:032x}"
        if any(index.vector(exam, r) is None for r in (Region.WRIST, Region.DISTAL_ULNA)):
            continue
        answers.append(index.search(SearchRequest(Region.DISTAL_ULNA, mode, 30, 10, exam_id=exam, only_similar=True)))
    turned = np.array([a.no_similar_case for a in answers])
    assert abs(turned.mean() - ALPHA) < 4 * (ALPHA * (1 - ALPHA) * (1 / 75 + 1 / len(turned))) ** 0.5
    assert all((not a.hits) == a.no_similar_case for a in answers)


def test_a_stranger_has_no_similar_case_only_when_asked(index: Index) -> None:
    wrists = index.segments[0].vectors[Region.WRIST]
    good = wrists[~np.isnan(wrists[:, 0])].astype(float)
    stranger = np.linalg.eigh(good.T @ good)[1][:, 0].astype(np.float32)  # where the archive has least energy
    request = SearchRequest(Region.WRIST, Mode.GLOBAL, vectors={Region.WRIST: stranger / np.linalg.norm(stranger)})
    assert len(index.search(request).hits) == 10
    assert index.search(request).no_similar_case is None
    asked = index.search(SearchRequest(**{**vars(request), "only_similar": True}))
    assert asked.no_similar_case
    assert asked.hits == []
    known = vectors_of(np.arange(3, 4))[Region.WRIST][0]
    assert known.shape == (DIM,)
    again = index.search(SearchRequest(Region.WRIST, Mode.GLOBAL, vectors={Region.WRIST: known}, only_similar=True))
    assert again.hits
    assert again.no_similar_case is False


def test_the_index_stores_threshold_and_alpha(index: Index) -> None:
    stored = index.description
    assert stored.alpha == ALPHA
    assert stored.thresholds == calibrate(index, ALPHA, 75, 30)
    assert set(stored.thresholds) == {
        *(f"{m}/{r}" for m in ("global", "region") for r in Region),
        *(f"two_stage/{r}" for r in Region if r is not Region.WRIST),
    }


def test_a_small_archive_promises_nothing(tmp_path: Path) -> None:
    small = publish(str(tmp_path), np.arange(9), IndexConfig(alpha=0.05))
    assert small.description.thresholds == {}
    asked = SearchRequest(Region.WRIST, Mode.GLOBAL, exam_id=f"{0:032x}", only_similar=True)
    assert small.search(asked).no_similar_case is None
    assert small.search(asked).hits


def test_what_the_encoder_has_learned_from_calibrates_nothing(tmp_path: Path) -> None:
    """Of 450 exams those of the first 100 patients are said to be of split train: 50 patients are left."""
    learned = publish(str(tmp_path), np.arange(450), IndexConfig(kind=Kind.EXACT, alpha=ALPHA, pool=30))
    segment = learned.segments[0]
    splits = np.where(np.arange(450) < 300, "train", "test")
    column = segment.exams.column_names.index("split")
    segment.exams = segment.exams.set_column(column, "split", pa.array(splits))
    scores = [
        learned.search(SearchRequest(Region.WRIST, Mode.GLOBAL, exam_id=f"{i:032x}")).hits[0].global_score
        for i in range(300, 450)
        if learned.vector(f"{i:032x}", Region.WRIST) is not None
    ]
    threshold = calibrate(learned, ALPHA, 1_000, 30)["global/wrist"]
    assert any(abs(s - threshold) < 1e-6 for s in scores if s is not None)
    segment.exams = segment.exams.set_column(column, "split", pa.array(["train"] * 450))
    assert calibrate(learned, ALPHA, 1_000, 30) == {}
