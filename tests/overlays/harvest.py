"""Candidate rows of many phantoms, with what is true of them: what the gate's weights are fitted to."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.overlays.exam import Exam, draw_exam
from tests.overlays.objects import longest_marker
from tests.overlays.wear import worn
from wristmir_ray.imaging.burned_in import Candidate, candidates
from wristmir_ray.phantom.render import FULL

INSIDE = 0.6
"""Share of a row's box that lies in the text's for it to be the text."""
VERSIONS = 6
"""Of a wrist, under other things each: to draw the wrist takes longest."""
TEXT, NONE, UNKNOWN = 1, 0, -1


@dataclass(frozen=True)
class Harvest:
    """Rows, and the exams they are of."""

    figures: np.ndarray
    """float32 (rows, figures)."""
    truth: np.ndarray
    """int (rows,): TEXT, NONE, or UNKNOWN for what touches text or may."""
    owners: np.ndarray
    """int (rows,): index of the exam."""
    has_text: np.ndarray
    """bool (exams,)."""

    def of(self, exams: np.ndarray) -> "Harvest":
        """Return the rows of some exams, bool (exams,); the others have none."""
        rows = exams[self.owners]
        return Harvest(self.figures[rows], self.truth[rows], self.owners[rows], self.has_text)

    def best(self, scores: np.ndarray) -> np.ndarray:
        """Return (exams,) the highest score of each exam's rows; -inf without rows."""
        out = np.full(len(self.has_text), -np.inf)
        np.maximum.at(out, self.owners, scores)
        return out


def join(one: Harvest, other: Harvest) -> Harvest:
    """Return the rows of both; the other's exams are numbered behind the one's."""
    return Harvest(
        np.concatenate([one.figures, other.figures]),
        np.concatenate([one.truth, other.truth]),
        np.concatenate([one.owners, other.owners + len(one.has_text)]),
        np.concatenate([one.has_text, other.has_text]),
    )


def gather_markers(seed: int, wrists: int) -> Harvest:
    """Return the rows of wrists with markers as long as markers get, and without text."""
    rows, owners = [], []
    for n in range(VERSIONS * wrists):
        rng = np.random.default_rng((seed, n))
        plain = draw_exam(seed, n // VERSIONS, with_text=False, most_objects=0, wear=False)
        grey = longest_marker(plain.pixels.astype(np.float32) / FULL, rng)
        pixels, _ = worn(np.asarray(np.clip(np.round(grey * FULL), 0, FULL), np.uint16), rng)
        found = [row.figures.as_array() for row in candidates(pixels)]
        rows += found
        owners += [n] * len(found)
    count = VERSIONS * wrists
    return Harvest(np.array(rows, np.float32), np.full(len(rows), NONE), np.array(owners), np.zeros(count, np.bool_))


def gather(seed: int, wrists: int, start: int = 0) -> Harvest:
    """Return the rows of so many wrists of an archive, each drawn `VERSIONS` times; every second one has text in it."""
    rows, truth, owners, has_text = [], [], [], []
    for n in range(VERSIONS * wrists):
        exam = draw_exam(seed, start + n // VERSIONS, with_text=n % 2 == 1, version=n % VERSIONS)
        has_text.append(exam.burned is not None)
        for candidate, kind in _judged(exam):
            rows.append(candidate.figures.as_array())
            truth.append(kind)
            owners.append(n)
    return Harvest(np.array(rows, np.float32), np.array(truth), np.array(owners), np.array(has_text))


def _judged(exam: Exam) -> Iterator[tuple[Candidate, int]]:
    for candidate in candidates(exam.pixels):
        if exam.burned is None:
            yield candidate, NONE
        elif "turned" in exam.wear:
            yield candidate, UNKNOWN  # where the text went is not known
        else:
            shared = _shared(candidate, exam)
            yield candidate, TEXT if shared > INSIDE else NONE if shared == 0 else UNKNOWN


def _shared(candidate: Candidate, exam: Exam) -> float:
    """Return the largest share of a row's box that lies in a block of text."""
    assert exam.burned
    scale = exam.pixels.shape[1] / exam.burned.pixels.shape[1]
    x0, y0, x1, y1 = candidate.box
    shares = [0.0]
    for box in exam.burned.boxes:
        left, top, right, bottom = (v * scale for v in box)
        wide, high = min(x1, right) - max(x0, left), min(y1, bottom) - max(y0, top)
        if wide > 0 and high > 0:
            shares.append(wide * high / ((x1 - x0) * (y1 - y0)))
    return max(shares)
