"""Attention maps of a trained encoder find fractures whose place is known, where a finished demo is at hand."""

import os
from typing import Any

import pytest

from tests.attention_on_phantoms import lesions, measure
from wristmir_ray import storage
from wristmir_ray.anatomy import BONES
from wristmir_ray.attention.maps import Method
from wristmir_ray.models.encoder import load_encoder

pytestmark = pytest.mark.slow

METHODS = (Method.OCCLUSION, Method.HIRES_CAM)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    """Figures of the demo below WRISTMIR_DEMO_ROOT (`make demo` leaves it in artifacts/demo)."""
    root = os.environ.get("WRISTMIR_DEMO_ROOT", "")
    if not root:
        pytest.skip(
            "WRISTMIR_DEMO_ROOT is not set: it names the folder of a finished demo, a quarter of an hour's work"
        )
    encoder = load_encoder(storage.join(root, "archive"))
    return measure(list(lesions(root, encoder.image_size)), encoder, METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("region", BONES)
def test_the_fracture_holds_more_of_the_map_than_of_the_area(
    figures: dict[str, Any], region: str, method: Method
) -> None:
    """By the lower end of the interval; and more than of another exam's map, which knows where fractures mostly are."""
    found = figures[region][method]
    assert found["mass_over_area"][1] > 1
    assert found["own_minus_another_exams_map"][0] > 0


@pytest.mark.parametrize("region", BONES)
def test_the_similarity_falls_when_the_fracture_is_deleted(figures: dict[str, Any], region: str) -> None:
    """More than when places of its size elsewhere in the crop are: the intervals lie apart."""
    found = figures[region]["deletion"]
    assert found["drop_at_lesion"][1] > found["drop_elsewhere"][2]
