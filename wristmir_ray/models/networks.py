"""Back ends that run an ONNX network: OpenVINO or ONNX Runtime on a CPU, CUDA or TensorRT on a GPU."""

import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from wristmir_ray.config import Section
from wristmir_ray.errors import ConfigError

Backend = Literal["openvino", "onnxruntime", "cuda", "tensorrt"]
Precision = Literal["float32", "bfloat16", "float16"]
Padding = Literal["square", "stride"]

PRECISIONS: dict[Backend, tuple[Precision, ...]] = {
    "openvino": ("float32", "bfloat16"),
    "onnxruntime": ("float32",),
    "cuda": ("float32",),
    "tensorrt": ("float32", "float16"),
}
_ON_CPU = {"openvino", "onnxruntime"}
_PROVIDERS = {"onnxruntime": "CPU", "cuda": "CUDA", "tensorrt": "Tensorrt"}


class RuntimeConfig(Section):
    """How detectors are run. Boxes hang on back end and precision by fractions of a pixel, so runs carry both."""

    backend: Backend = Field("openvino", description="openvino or onnxruntime on a CPU, cuda or tensorrt on a GPU")
    precision: Precision = Field(
        "bfloat16",
        description="of the network's arithmetic; boxes and scores are float32. A CPU without bfloat16 takes float32",
    )
    batch_size: int = Field(1, ge=1, description="images a call of the network: 1 on a CPU, where more buy nothing")
    threads: int = Field(1, ge=1, description="CPU threads of a call; more workers scale better")
    padding: Padding = Field(
        "square",
        description="of an upright image's width: square, or stride: to the next multiple of 32 px alone, a sixth less "
        "to compute for a wrist. On a CPU, images one by one",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = PRECISIONS[self.backend]
        if self.precision not in known:
            raise ValueError(f"{self.backend} computes in {' or '.join(known)}, not in {self.precision}")
        if self.padding == "stride" and (self.backend not in _ON_CPU or self.batch_size > 1):
            raise ValueError("images of many sizes are taken one by one, on a CPU: set padding to square")
        return self


EXACT = RuntimeConfig(backend="onnxruntime", precision="float32")
"""The reference: what the trainer's own predictions are compared with."""


class Network(Protocol):
    """A network at one batch size; threads may share it."""

    def __call__(self, canvases: np.ndarray) -> np.ndarray:
        """Return float32 (B, ...) of float32 (B, 3, H, W) in [0, 1].

        B is the batch size it was opened with. H and W are S, or, with padding `stride`, any multiples of 32: OpenVINO
        takes a few tenths of a second for the first image of a size (`detector.warm_up`).
        """
        ...


def open_network(model: bytes, image_size: int, runtime: RuntimeConfig) -> Network:
    """Return an ONNX network on the back end that the settings name.

    Args:
        model: ONNX, float32 (B, 3, H, W) in, one output; a symbolic B takes any batch size.
        image_size: S, px.
        runtime: back end, precision, batch size, threads, padding.

    Raises:
        ConfigError: the network has another batch size, or one size alone, or this machine lacks the back end.
    """
    shape = (runtime.batch_size, 3, image_size, image_size)
    return (_openvino if runtime.backend == "openvino" else _onnxruntime)(model, shape, runtime)


def run_padded(network: Network, canvases: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the network's output for (n, 3, H, W), 1 <= n <= batch_size: what is short is filled up with zeros."""
    short = np.zeros((batch_size - len(canvases), *canvases.shape[1:]), np.float32)
    return network(np.concatenate([canvases, short]) if len(short) else canvases)[: len(canvases)]


def _openvino(model: bytes, shape: tuple[int, ...], runtime: RuntimeConfig) -> Network:
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # sends events, keeps an id at home
    import openvino

    core = openvino.Core()
    graph = core.read_model(model)
    batch, _, *sides = graph.inputs[0].get_partial_shape()
    if batch.is_static and batch.get_length() != shape[0]:
        raise _wrong_batch(shape[0])
    if runtime.padding == "stride" and any(side.is_static for side in sides):
        raise _one_size()
    settings = {
        "INFERENCE_NUM_THREADS": runtime.threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[runtime.precision],
    }

    @cache
    def prepared(*shape: int) -> Any:
        sized = graph.clone()
        sized.reshape(shape)  # folds what hangs on the size
        return core.compile_model(sized, "CPU", settings).create_infer_request()

    alone = threading.Lock()  # a second thread's call would write into the memory that the first one is to read

    def run(canvases: np.ndarray) -> np.ndarray:
        with alone:
            request = prepared(*canvases.shape)
            # Copied here, once: the request's own memory is used again, the input's is not written to.
            return np.array(request.infer({0: canvases}, share_inputs=True, share_outputs=True)[0])

    prepared(*shape)
    return run


def _onnxruntime(model: bytes, shape: tuple[int, ...], runtime: RuntimeConfig) -> Network:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it sends events, and keeps a device id in the user's home
    import onnxruntime

    provider = f"{_PROVIDERS[runtime.backend]}ExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise ConfigError(f"this machine's ONNX Runtime has no {runtime.backend}; install requirements/gpu.txt")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = runtime.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # below: a warning about GPUs on every machine without one
    sizes = {"batch": shape[0]} | ({"height": shape[2], "width": shape[3]} if runtime.padding == "square" else {})
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    half = {"trt_fp16_enable": True} if runtime.precision == "float16" else {}
    session: Any = onnxruntime.InferenceSession(model, options, providers=[(provider, half)])
    if session.get_providers()[0] != provider:  # it falls back to the CPU without an error
        raise ConfigError(f"{runtime.backend} finds no GPU here; set 'runtime.backend' to openvino or onnxruntime")
    entry = session.get_inputs()[0]
    if entry.shape[0] != shape[0]:
        raise _wrong_batch(shape[0])
    if runtime.padding == "stride" and any(isinstance(side, int) for side in entry.shape[2:]):
        raise _one_size()
    run: Callable[..., list[np.ndarray]] = session.run
    return lambda canvases: run(None, {entry.name: canvases})[0]


def _wrong_batch(size: int) -> ConfigError:
    return ConfigError(f"the network was exported for another batch than {size}; set 'runtime.batch_size' to 1")


def _one_size() -> ConfigError:
    return ConfigError("the network was exported for images of one size; set 'runtime.padding' to square")
