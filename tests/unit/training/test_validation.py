"""Validation figures on cases that can be counted by hand."""

import numpy as np
import pytest

from wristmir_ray.anatomy import Region
from wristmir_ray.training.validation import bone_matches, caption_recall, label_match

EYE = np.eye(6, dtype=np.float32)


def test_recall_counts_distinct_captions_above_the_own_one() -> None:
    image = np.array([[3, 2, 1, 0, 0, 0], [3, 2, 1, 0, 0, 0], [3, 2, 1, 0, 0, 0]], np.float32)
    own = np.array([0, 1, 2])
    assert caption_recall(image, EYE, own, k=1) == pytest.approx(1 / 3)
    assert caption_recall(image, EYE, own, k=2) == pytest.approx(2 / 3)
    assert caption_recall(image, EYE, own, k=3) == 1


def test_an_encoder_that_says_one_thing_gets_chance() -> None:
    same = np.ones((10, 4), np.float32)
    assert caption_recall(same, np.ones((9, 4), np.float32), np.arange(10) % 9, k=3) == pytest.approx(3 / 9)


def test_match_is_perfect_where_labels_are_apart_and_chance_where_they_are_not() -> None:
    label = np.array([1] * 20 + [0] * 20)
    assert label_match(EYE[label], label, k=10) == 1
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4000, 16)).astype(np.float32)
    known = (rng.random(4000) < 0.3).astype(int)
    assert label_match(noise, known, k=10) == pytest.approx(known.mean(), abs=0.03)


def test_uncertain_rows_are_neither_query_nor_hit() -> None:
    label = np.array([1] * 12 + [-1] * 12)
    assert label_match(EYE[np.zeros(24, int)], label, k=10) == 1


@pytest.mark.parametrize("label", [[1] + [0] * 20, [0] * 21, [1] * 10])
def test_too_few_rows_give_no_figure(label: list[int]) -> None:
    assert label_match(EYE[np.zeros(len(label), int)], np.array(label), k=10) is None


def test_each_bone_is_searched_among_its_own_crops() -> None:
    label = np.array([1, 0] * 60)
    region = np.repeat([1, 2, 3], 40)
    apart = np.where(region == 1, label, 0)  # only the radius is told apart
    found = bone_matches(EYE[apart], region, label, k=10)
    assert list(Region)[1].value == "distal_radius"
    assert found["distal_radius"] == 1
    assert found["distal_ulna"] is not None
    assert found["distal_ulna"] < 1
    known = [found[r] for r in ("distal_radius", "distal_ulna", "ulnar_styloid")]
    assert found["mean"] == pytest.approx(np.mean([v for v in known if v is not None]))
