"""One phantom radiograph with what lies on it: objects, text or none, and the wear of its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tests.overlays import text
from tests.overlays.fonts import DEVELOPED, Face
from tests.overlays.objects import add_objects
from tests.overlays.wear import worn
from wristmir_ray.phantom.population import patient_cases
from wristmir_ray.phantom.render import render
from wristmir_ray.phantom.scene import build_scene

CAST_SHARE = 0.35
_STREAM = 99


@dataclass(frozen=True)
class Exam:
    """Stored pixels, and what is true of them."""

    pixels: np.ndarray
    """uint8 or uint16 (rows, cols)."""
    objects: tuple[str, ...]
    wear: tuple[str, ...]
    burned: text.Burned | None
    """Before the wear; None without text."""


def draw_exam(
    seed: int,
    index: int,
    with_text: bool,
    faces: Mapping[str, Face] = DEVELOPED,
    layouts: Sequence[str] = text.DEVELOPED_LAYOUTS,
    most_objects: int = 3,
) -> Exam:
    """Return a phantom exam: its own patient, a cast on a third, every side's letter.

    Args:
        seed: of the archive.
        index: of the exam.
        with_text: burn text in.
        faces: fonts to choose from.
        layouts: layouts to choose from.
        most_objects: kinds of foreign objects at most; 0 leaves the phantom as the archive has it.
    """
    rng = np.random.default_rng((seed, index, _STREAM))
    case = replace(patient_cases(seed, index, index)[0], cast=bool(rng.random() < CAST_SHARE))
    pixels, objects = add_objects(render(build_scene(case, seed), seed), rng, most_objects)
    burned = text.burn_in(pixels, rng, faces, layouts) if with_text else None
    pixels, wear = worn(burned.pixels if burned else pixels, rng)
    return Exam(pixels, tuple(objects), tuple(wear), burned)
