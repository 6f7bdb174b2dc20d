"""Fit the weights of `imaging.burned_in` and choose its threshold, and print both as they stand there.

    python -m tests.overlays.fit [EXAMS]

Draws exams with and without text, in the fonts, layouts and seeds for development, takes every candidate
row, and minimises logistic loss. Every weight has the sign that its meaning asks for, or is zero; an
exam's rows weigh together as the root of their number. Rows of exams with text that are not the text
itself count for nothing.

The threshold is the one that holds `HELD_SHARE` of as many exams without text, of another seed; what it
finds of those with text is printed beside it. No font, layout or seed of `bench_deid` is used for either.
"""

import sys
from collections import Counter

import numpy as np
from scipy.optimize import minimize

from tests.overlays.exam import Exam, draw_exam
from wristmir_ray.imaging.burned_in import TERMS, Candidate, candidates

SEED = 1000
THRESHOLD_SEED = 3000
HELD_SHARE = 0.014
"""Of exams without text: the gate's limit is 0.02, and a sample's share strays by 0.004."""
INSIDE = 0.6
"""Share of a row's box that lies in the text's for it to be the text."""
RIDGE = 1e-4


def main(exams: int) -> None:
    """Fit on so many exams with and so many without text."""
    rows, truth, owners = [], [], []
    for index in range(2 * exams):
        exam = draw_exam(SEED, index, with_text=index % 2 == 1)
        if exam.burned and "turned" in exam.wear:
            continue  # where the text went is not known
        for candidate in candidates(exam.pixels):
            is_text = exam.burned is not None and _is_inside(candidate, exam)
            if is_text or exam.burned is None:
                rows.append([_share(candidate, name, low, high) for name, low, high, _ in TERMS])
                truth.append(1.0 if is_text else -1.0)
                owners.append(index)
    intercept, *weights = fit(np.array(rows), np.array(truth), owners)
    for (name, low, high, _), weight in zip(TERMS, weights, strict=True):
        print(f'    ("{name}", {low}, {high}, {weight:.2f}),')
    print(f"_INTERCEPT = {intercept:.2f}")
    _choose(intercept, np.array(weights), exams)


def _choose(intercept: float, weights: np.ndarray, exams: int) -> None:
    """Print the threshold, and what others would find and hold of exams that were not fitted on."""
    best: dict[bool, list[float]] = {True: [], False: []}
    for index in range(2 * exams):
        exam = draw_exam(THRESHOLD_SEED, index, with_text=index % 2 == 1)
        rows = [[_share(c, name, low, high) for name, low, high, _ in TERMS] for c in candidates(exam.pixels)]
        found = max((float(intercept + np.array(row) @ weights) for row in rows), default=-np.inf)
        best[exam.burned is not None].append(found)
    with_text, without = (np.array(best[kind]) for kind in (True, False))
    chosen = float(np.quantile(without, 1 - HELD_SHARE))
    for threshold in (chosen, *np.arange(0, 4.1, 0.25)):
        shares = [float((scores >= threshold).mean()) for scores in (with_text, without)]
        print(f"    {threshold:5.2f}: finds {shares[0]:.4f}, holds {shares[1]:.4f}")
    print(f"_THRESHOLD = {chosen:.2f}")


def fit(rows: np.ndarray, truth: np.ndarray, owners: list[int]) -> np.ndarray:
    """Return intercept and weights.

    Args:
        rows: (n, t) terms in [0, 1].
        truth: (n,) 1 for text, -1 for none.
        owners: (n,) the exam of each row.
    """
    count = Counter(owners)
    share = np.array([count[o] ** -0.5 for o in owners])
    share /= share.sum()

    def loss(v: np.ndarray) -> tuple[float, np.ndarray]:
        margin = truth * (v[0] + rows @ v[1:])
        pull = -truth / (1 + np.exp(margin)) * share
        value = (share * np.logaddexp(0, -margin)).sum() + RIDGE * (v[1:] ** 2).sum()
        return value, np.concatenate([[pull.sum()], rows.T @ pull + 2 * RIDGE * v[1:]])

    bounds = [(None, None)] + [(0, None) if weight > 0 else (None, 0) for *_, weight in TERMS]
    return np.asarray(minimize(loss, np.zeros(1 + len(TERMS)), jac=True, bounds=bounds, method="L-BFGS-B").x)


def _share(candidate: Candidate, name: str, low: float, high: float) -> float:
    return float((np.clip(getattr(candidate.figures, name), low, high) - low) / (high - low))


def _is_inside(candidate: Candidate, exam: Exam) -> bool:
    assert exam.burned
    scale = exam.pixels.shape[1] / exam.burned.pixels.shape[1]
    x0, y0, x1, y1 = candidate.box
    for box in exam.burned.boxes:
        left, top, right, bottom = (v * scale for v in box)
        wide, high = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
        if wide > 0 and high > 0 and wide * high > INSIDE * (x1 - x0) * (y1 - y0):
            return True
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
