"""Made-up archives whose right answer is known."""

from typing import Any

import numpy as np

from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.evaluation.archive import Archive
from wristmir_ray.evaluation.hits import retrieve
from wristmir_ray.evaluation.retrieval import evaluate_bones

_SHARES = ("binary_match", "class_match", "vote_accuracy")
FIGURES = ("diagnosis_f1", *_SHARES, *(f"positive_{name}" for name in _SHARES))


def archive(
    exams: int = 240, signal: float = 6.0, seed: int = 0, shuffle: bool = False, missing: float = 0.0
) -> Archive:
    """Bones' vectors hold the label as strongly as `signal`; wrists' vectors hold the side only.

    Args:
        exams: two a patient, two thirds of them in the test split.
        signal: how far apart fractured and intact bones lie.
        seed: of everything.
        shuffle: deal the labels out anew, so that no image shows its label.
        missing: share of bones without a vector.
    """
    rng = np.random.default_rng(seed)
    labels = {r: rng.integers(0, 2, exams) for r in Region}
    sides = rng.integers(0, 2, exams)

    def vectors(bit: np.ndarray, strength: float) -> np.ndarray:
        raw = rng.normal(size=(exams, 16))
        raw[:, 0] += strength * (2 * bit - 1)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    found = {r: vectors(labels[r], signal) for r in BONES}
    for bone in BONES:
        found[bone][rng.random(exams) < missing] = np.nan
    found[Region.WRIST] = vectors(sides, 6.0)
    known = {r: rng.permutation(v) if shuffle else v for r, v in labels.items()}
    return Archive(
        exam_ids=np.array([f"e{i:04d}" for i in range(exams)]),
        patients=np.array([f"p{i // 2}" for i in range(exams)]),
        splits=np.array(["train" if i // 2 % 3 == 0 else "test" for i in range(exams)]),
        sides=np.array(["left", "right"], object)[sides],
        ages_years=rng.uniform(2, 17, exams),
        vectors=found,
        present=known,
        classes={r: v * 3 for r, v in known.items()},
        captions={r: np.array([f"{r.words} {x}" for x in v], object) for r, v in known.items()},
    )


def figures_of(world: Archive, shuffles: int = 20) -> dict[str, Any]:
    """Return the figures of image retrieval over the test split."""
    queries = world.rows("test")
    rankings = retrieve(world, queries, queries, 40, 10)
    return evaluate_bones(world, queries, rankings, pool=40, resamples=200, shuffles=shuffles, seed=0)
