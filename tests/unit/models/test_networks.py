"""One ONNX network on every back end that this machine has."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.unit.models.test_detector import SPEC, constant_network
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.detector import OnnxDetector
from wristmir_ray.models.networks import EXACT, PRECISIONS, Backend, RuntimeConfig, open_network, run_padded

SIDE = 64
OUTPUT = np.random.default_rng(0).uniform(0, 1, (7, 5)) * ([[40]] * 4 + [[1]] * 3)
CPU = [RuntimeConfig(backend=b, precision=p) for b in ("openvino", "onnxruntime") for p in PRECISIONS[b]]


def squares(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 3, SIDE, SIDE), dtype=np.float32)


@pytest.mark.parametrize("runtime", CPU, ids=lambda r: f"{r.backend}-{r.precision}")
def test_back_ends_agree(runtime: RuntimeConfig) -> None:
    model, images = constant_network(OUTPUT), squares(1)
    exact = open_network(model, SIDE, EXACT)(images)
    ours = open_network(model, SIDE, runtime)(images)
    assert ours.dtype == np.float32
    assert ours.shape == exact.shape == (1, 7, 5)
    np.testing.assert_allclose(ours, exact, rtol=1e-6 if runtime.precision == "float32" else 2**-8)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_batch_is_as_good_as_single_images(backend: str, size: int) -> None:
    runtime = RuntimeConfig(backend=backend, precision="float32", batch_size=size)
    images = [np.full((80, 50), grey, np.uint8) for grey in (200, 120, 255, 160, 90)]
    model = constant_network(OUTPUT, symbolic=True)
    single = OnnxDetector(model, SPEC, EXACT).detect(images)
    batched = OnnxDetector(model, SPEC, runtime).detect(images)
    assert len({tuple(d.score for d in found) for found in single}) == len(images), "each has an answer of its own"
    for one, other in zip(single, batched, strict=True):
        assert [d.region for d in one] == [d.region for d in other]
        np.testing.assert_allclose([d.score for d in one], [d.score for d in other], rtol=1e-5)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_upright_images_are_padded_to_a_stride(backend: Backend) -> None:
    output = np.zeros((7, 2))
    output[:, 0] = [16, 32, 8, 16, 0.3, 0, 0]
    model = constant_network(output, symbolic=True)
    runtime = RuntimeConfig(backend=backend, precision="float32", padding="stride")
    detector = OnnxDetector(model, SPEC, runtime)
    upright, square, wide = detector.detect([np.full(s, 255, np.uint8) for s in ((128, 60), (128, 128), (60, 128))])
    assert [round(d[0].score, 2) for d in (upright, square)] == [1.27, 1.3], "30 of 32 columns are white, then all"
    exact = OnnxDetector(model, SPEC, EXACT).detect([np.full((60, 128), 255, np.uint8)])[0][0]
    assert (wide[0].box, round(wide[0].score, 4)) == (exact.box, round(exact.score, 4))
    assert (upright[0].box.x0_px, upright[0].box.x1_px) == (22, 38), (
        "12 to 20 of 32 columns, the image from the second on"
    )
    assert (square[0].box.x0_px, square[0].box.x1_px) == (24, 40)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_of_one_image_size_is_refused_where_widths_vary(backend: Backend) -> None:
    runtime = RuntimeConfig(backend=backend, precision="float32", padding="stride")
    with pytest.raises(ConfigError, match=r"'runtime\.padding' to square"):
        open_network(constant_network(OUTPUT), SIDE, runtime)


@pytest.mark.parametrize("other", [{"batch_size": 2}, {"backend": "cuda", "precision": "float32"}])
def test_widths_vary_on_a_cpu_and_one_by_one_alone(other: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="set padding to square"):
        RuntimeConfig(**{"padding": "stride"} | other)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_threads_that_share_a_network_read_their_own_output(backend: Backend) -> None:
    """Without taking turns about half of these calls read another thread's."""
    side = 256
    runtime = RuntimeConfig(backend=backend, precision="float32")
    network = open_network(constant_network(np.zeros((7, 3)), side), side, runtime)
    images = [np.full((1, 3, side, side), value, np.float32) for value in (0.1, 0.4, 0.7, 1.0)]
    wanted = [network(image)[0, 4, 0] for image in images]
    assert len(set(wanted)) == len(images)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: network(images[i % 4])[0, 4, 0], range(200)))
    assert found == [wanted[i % 4] for i in range(200)]


def test_what_is_short_is_filled_up_and_cut_off() -> None:
    seen: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return batch[:, 0]

    images = squares(3)
    np.testing.assert_array_equal(run_padded(network, images, 4), images[:, 0])
    np.testing.assert_array_equal(run_padded(network, images, 3), images[:, 0])
    assert seen == [4, 3]


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_network_of_another_batch_size_is_refused(backend: str) -> None:
    runtime = RuntimeConfig(backend=backend, precision="float32", batch_size=2)
    with pytest.raises(ConfigError, match=r"'runtime\.batch_size' to 1"):
        open_network(constant_network(OUTPUT), SIDE, runtime)


def test_a_back_end_that_is_not_here_says_what_to_install() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ConfigError, match=r"no cuda; install requirements/gpu\.txt"):
        open_network(constant_network(OUTPUT), SIDE, RuntimeConfig(backend="cuda", precision="float32"))


def test_a_precision_that_the_back_end_lacks_is_refused() -> None:
    with pytest.raises(ValidationError, match="onnxruntime computes in float32, not in bfloat16"):
        RuntimeConfig(backend="onnxruntime")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_nothing_is_left_in_the_users_home(backend: str, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(constant_network(OUTPUT))
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys; from wristmir_ray.models.networks import *\n"
        f"runtime = RuntimeConfig(backend={backend!r}, precision='float32')\n"
        f"open_network(open({str(model)!r}, 'rb').read(), {SIDE}, runtime)\n"
        "assert not sys.modules.get('openvino_telemetry')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(home)})
    assert list(home.rglob("*")) == []
