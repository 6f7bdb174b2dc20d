"""The run-time path around a detector network."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Region
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.models.detector import (
    BONE_DETECTOR,
    MODEL_FILE,
    SPEC_FILE,
    DetectorSpec,
    OnnxDetector,
    load_detector,
    read_output,
)
from wristmir_ray.models.letterbox import FILL, corners, iou_matrix, letterbox, network_input, suppress, widths

SPEC = DetectorSpec(BONES, 64, score_thresholds=(0.3, 0.3, 0.05), iou_threshold=0.5)

sides = st.integers(3, 400)


def constant_network(output: np.ndarray, side: int = 64, symbolic: bool = False) -> bytes:
    """An ONNX network that answers `output` (4 + classes, N) plus an image's mean on the first score; any batch size
    and image size if it is `symbolic`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    answer = numpy_helper.from_array(output[None].astype(np.float32), "answer")
    mask = np.zeros_like(output[None], dtype=np.float32)
    mask[0, 4, 0] = 1
    batch, *sides = ("batch", "height", "width") if symbolic else (1, side, side)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=1, axes=[1, 2, 3]),
        helper.make_node("Squeeze", ["mean", "last"], ["means"]),
        helper.make_node("Mul", ["means", "mask"], ["seen"]),
        helper.make_node("Add", ["answer", "seen"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *sides])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, *output.shape])],
        [answer, numpy_helper.from_array(mask, "mask"), numpy_helper.from_array(np.array([3]), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def publish(root: Path, model: bytes, spec: DetectorSpec) -> None:
    folder = storage.run_uri(str(root), BONE_DETECTOR, "r1")
    storage.write_bytes(storage.join(folder, MODEL_FILE), model)
    storage.write_bytes(storage.join(folder, SPEC_FILE), spec.to_json().encode())
    storage.publish(str(root), storage.Manifest(name=BONE_DETECTOR, run_id="r1", job="train_detector"))


@given(sides, sides, st.sampled_from([32, 160, 224]))
def test_letterbox_keeps_all_of_the_image_in_the_middle(rows: int, cols: int, side: int) -> None:
    square, place = letterbox(np.full((rows, cols), 255, np.uint8), side)
    assert square.shape == (side, side)
    assert square.dtype == np.uint8
    inside = square != FILL
    held = np.argwhere(inside)
    height, width = held.max(axis=0) - held.min(axis=0) + 1
    assert inside.sum() == height * width
    assert max(height, width) == side
    assert (place.top_px, place.left_px) == tuple(held.min(axis=0))
    assert abs((side - height) // 2 - place.top_px) == 0
    assert abs((side - width) // 2 - place.left_px) == 0


@given(sides, sides, st.sampled_from([32, 160, 224, 288]))
def test_an_upright_image_is_padded_to_one_of_few_widths(rows: int, cols: int, side: int) -> None:
    image = np.full((rows, cols), 255, np.uint8)
    (whole, at), (canvas, place) = letterbox(image, side), letterbox(image, side, square=False)
    assert canvas.shape[0] == side
    assert canvas.shape[1] in ({side} if cols > rows else set(widths(side)))
    shift = at.left_px - place.left_px
    np.testing.assert_array_equal(canvas, whole[:, shift : shift + canvas.shape[1]])
    assert (place.top_px, place.scale_x, place.scale_y) == (at.top_px, at.scale_x, at.scale_y)
    held = np.flatnonzero((canvas != FILL).any(axis=0))
    assert held.min() == place.left_px
    shown = held.max() + 1 - held.min()
    assert cols > rows or all(w < shown for w in widths(side) if w < canvas.shape[1]), "a narrower one would do"


def test_widths_are_multiples_of_the_stride_from_half_a_square_on() -> None:
    assert list(widths(224)) == [128, 160, 192, 224]
    assert list(widths(32)) == [32]


@given(sides, sides, st.booleans(), st.integers(0, 2**32 - 1))
def test_letterboxed_boxes_come_back(rows: int, cols: int, square: bool, seed: int) -> None:
    _, place = letterbox(np.zeros((rows, cols), np.uint8), 160, square)
    box = np.random.default_rng(seed).uniform(0, 1, (5, 4)) * [cols, rows, cols, rows]
    there = box * ([place.scale_x, place.scale_y] * 2) + [place.left_px, place.top_px] * 2
    np.testing.assert_allclose(place.to_source(there), box, atol=1e-6)


def test_network_input_is_grey_in_three_channels() -> None:
    x = network_input(np.array([[[0, 255], [51, 102]]], np.uint8))
    assert x.shape == (1, 3, 2, 2)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0, 2], [[0, 1], [0.2, 0.4]], atol=1e-7)
    assert x.flags.c_contiguous


def test_corners_of_centres() -> None:
    np.testing.assert_array_equal(corners(np.array([[10.0, 20.0, 4.0, 6.0]])), [[8, 17, 12, 23]])


@given(st.integers(0, 2**32 - 1), st.integers(0, 30), st.floats(0.1, 0.9))
def test_suppression_keeps_the_best_and_no_overlap(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 50, (count, 2))
    boxes = np.hstack([low, low + rng.uniform(1, 30, (count, 2))])
    scores = rng.integers(0, 5, count) / 4
    kept = suppress(boxes, scores, iou)
    assert list(scores[kept]) == sorted(scores[kept], reverse=True)
    among = iou_matrix(boxes[kept], boxes[kept]) - np.eye(len(kept))
    assert (among <= iou).all()
    for i in set(range(count)) - set(kept.tolist()):
        rivals = iou_matrix(boxes[[i]], boxes[kept])[0]
        assert (scores[kept][rivals > iou] >= scores[i]).any()


def test_iou_matrix_agrees_with_box() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 20, (12, 2))
    boxes = np.hstack([low, low + rng.uniform(0, 20, (12, 2))])
    ours = iou_matrix(boxes, boxes)
    theirs = [[Box(*a).iou(Box(*b)) for b in boxes] for a in boxes]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_read_output_sorts_clips_and_drops() -> None:
    boxes = np.array([[-5.0, -5, 20, 20], [10, 10, 30, 30], [200, 200, 210, 210], [11, 10, 30, 30]])
    scores = np.array([[0.4, 0.2, 0.9, 0.1], [0.0, 0.6, 0.0, 0.5], [np.nan, 0.04, 0.06, np.nan]])
    found = read_output(boxes, scores, SPEC, rows=100, cols=90)
    assert [(d.region, d.score) for d in found] == [(Region.DISTAL_ULNA, 0.6), (Region.DISTAL_RADIUS, 0.4)]
    assert found[0].box == Box(10, 10, 30, 30)
    assert found[1].box == Box(0, 0, 20, 20)


def test_onnx_detector_gives_boxes_in_source_pixels() -> None:
    output = np.zeros((7, 3))
    output[:, 0] = [32, 16, 8, 4, 0.1, 0, 0]  # the radius, found only where the image is bright
    output[:, 1] = [48, 32, 16, 16, 0, 0.8, 0]
    detector = OnnxDetector(constant_network(output), SPEC.sealed(b"x"))
    assert detector.digest
    bright, dark = detector.detect([np.full((128, 128), 255, np.uint8), np.zeros((128, 128), np.uint8)])
    assert [d.region for d in bright] == [Region.DISTAL_RADIUS, Region.DISTAL_ULNA]
    assert bright[0].box == Box(56, 28, 72, 36)
    assert bright[0].score == pytest.approx(1.1)
    assert [d.region for d in dark] == [Region.DISTAL_ULNA]
    (tall,) = detector.detect([np.zeros((128, 64), np.uint8)])  # letterboxed: 64 x 32 at column 16
    assert tall[0].box == Box(48, 48, 64, 80)


def test_spec_survives_json() -> None:
    sealed = SPEC.sealed(b"network")
    assert DetectorSpec.from_json(sealed.to_json()) == sealed
    assert sealed.digest != SPEC.sealed(b"another network").digest
    assert sealed.sealed(b"network") == sealed


def test_published_detector_loads(tmp_path: Path) -> None:
    model = constant_network(np.zeros((7, 1)))
    publish(tmp_path, model, SPEC.sealed(model))
    assert load_detector(str(tmp_path), BONE_DETECTOR).digest == SPEC.sealed(model).digest
    assert load_detector(str(tmp_path), BONE_DETECTOR, "r1").spec.classes == BONES


def test_mixed_files_are_refused(tmp_path: Path) -> None:
    model = constant_network(np.zeros((7, 1)))
    publish(tmp_path, model, SPEC.sealed(b"another network"))
    with pytest.raises(ConfigError, match="do not belong together"):
        load_detector(str(tmp_path), BONE_DETECTOR)


def test_missing_detector_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="bone_detector"):
        load_detector(str(tmp_path), BONE_DETECTOR)
