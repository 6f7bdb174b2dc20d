"""One phantom radiograph with what lies on it: objects, text or none, and the wear of its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

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
    version: int = 0,
    wear: bool = True,
) -> Exam:
    """Return a phantom exam: its own patient, a cast on a third, every side's letter.

    Args:
        seed: of the archive.
        index: of the exam.
        with_text: burn text in.
        faces: fonts to choose from.
        layouts: layouts to choose from.
        most_objects: kinds of foreign objects at most; 0 leaves the phantom as the archive has it.
        version: of the same wrist under other things.
        wear: let the file go through something.
    """
    rng = np.random.default_rng((seed, index, _STREAM, version))
    pixels, objects = add_objects(_wrist(seed, index), rng, most_objects)
    burned = text.burn_in(pixels, rng, faces, layouts) if with_text else None
    pixels = burned.pixels if burned else pixels
    pixels, done = worn(pixels, rng) if wear else (pixels, [])
    return Exam(pixels, tuple(objects), tuple(done), burned)


@lru_cache(1)
def _wrist(seed: int, index: int) -> np.ndarray:
    cast = bool(np.random.default_rng((seed, index, _STREAM)).random() < CAST_SHARE)
    return render(build_scene(replace(patient_cases(seed, index, index)[0], cast=cast), seed), seed)
