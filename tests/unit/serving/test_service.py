"""Uploads, fallbacks of one query, and the swap of generations."""

import asyncio

import numpy as np
import pytest

from tests.unit.imaging import samples
from tests.unit.serving.fake_graph import EXAM, FakeGraph
from wristmir_ray.anatomy import Box, Region
from wristmir_ray.errors import ErrorCode
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig
from wristmir_ray.imaging.crop import decode_png, encode_png
from wristmir_ray.preprocess.oddities import MESSAGES
from wristmir_ray.preprocess.regions import RegionCrop
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Current, Extractor, Sighting, answer

WRIST = RegionCrop(Region.WRIST, Box(0, 0, 40, 40), 0.9, np.full((40, 40), 7, np.uint8))
RADIUS = RegionCrop(Region.DISTAL_RADIUS, Box(5, 5, 15, 15), 0.9, np.full((10, 10), 9, np.uint8))
NO_ULNA = RegionCrop(Region.DISTAL_ULNA, error=ErrorCode.NO_REGION)


@pytest.fixture
def png() -> bytes:
    ramp = np.linspace(0, 255, 64 * 64).astype(np.uint8).reshape(64, 64)
    return encode_png(ramp)


def test_an_upload_gives_the_found_regions_without_loss(png: bytes) -> None:
    found = Extractor(lambda _, side: [WRIST, RADIUS, NO_ULNA], DecodeConfig())(png)
    assert isinstance(found, Sighting)
    assert set(found.pngs) == set(found.boxes) == {Region.WRIST, Region.DISTAL_RADIUS}
    np.testing.assert_array_equal(decode_png(found.pngs[Region.DISTAL_RADIUS]), RADIUS.crop)
    assert found.boxes[Region.DISTAL_RADIUS] == api.PixelBox(x0_px=5, y0_px=5, x1_px=15, y1_px=15)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(b"", 422, "empty_file"), (b"hello", 422, "unknown_format"), (b"\x89PNG\r\n\x1a\n", 422, "corrupt_image")],
)
def test_an_unusable_upload_is_a_problem(data: bytes, status: int, code: str) -> None:
    found = Extractor(lambda _, side: [WRIST], DecodeConfig())(data)
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (status, code)


@pytest.mark.parametrize(("gate", "code"), [(DeidConfig(), "identified"), (None, "no_wrist")])
def test_an_upload_that_names_its_patient(gate: DeidConfig | None, code: str) -> None:
    named = samples.dicom(PatientName="Musterfrau^Erika")
    nothing = [RegionCrop(r, error=ErrorCode.NO_WRIST) for r in Region]
    found = Extractor(lambda _, side: nothing, DecodeConfig(), gate)(named)
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (422, code)
    assert "Musterfrau" not in found.detail


def test_too_many_pixels_are_413(png: bytes) -> None:
    found = Extractor(lambda _, side: [WRIST], DecodeConfig(max_pixels=100))(png)
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (413, "image_too_large")


@pytest.mark.parametrize("code", MESSAGES)
def test_what_is_no_upright_wrist_is_a_problem(code: ErrorCode, png: bytes) -> None:
    found = Extractor(lambda _, side: [RegionCrop(r, error=code) for r in Region], DecodeConfig())(png)
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (422, code)


@pytest.mark.parametrize("region", [Region.DISTAL_RADIUS, Region.WRIST])
def test_only_what_the_search_compares_is_encoded(region: Region) -> None:
    graph = FakeGraph()
    mode = api.Mode.GLOBAL if region is Region.WRIST else api.Mode.TWO_STAGE
    asyncio.run(answer(graph, api.SearchParameters(region=region, mode=mode), image=b"x"))
    assert set(graph.asked[0].vectors) == {Region.WRIST, region}
    assert len(graph.encoded) == len({Region.WRIST, region})


def test_an_exam_query_names_no_boxes() -> None:
    found = asyncio.run(answer(FakeGraph(), api.SearchParameters(), exam_id=EXAM))
    assert found.query_boxes == {}


def test_before_the_first_generation_the_service_is_not_ready() -> None:
    with pytest.raises(ProblemError) as caught:
        Current[str]().get()
    assert caught.value.problem.status == 503


def fail() -> str:
    raise OSError("no such run")


def test_a_failed_swap_keeps_the_old_generation() -> None:
    current: Current[str] = Current()
    current.swap(lambda: "first")
    current.swap(fail)
    assert current.get() == "first"
    current.swap(lambda: "second")
    assert current.get() == "second"


def test_a_first_generation_that_fails_stops_the_replica() -> None:
    with pytest.raises(OSError, match="no such run"):
        Current[str]().swap(fail)


def test_problems_survive_pickling() -> None:
    import pickle

    error = ProblemError(problems.unknown_exam())
    assert pickle.loads(pickle.dumps(error)).problem == error.problem
