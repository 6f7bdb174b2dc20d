"""Light modules stay light: importing them loads no model library and no Ray."""

import subprocess
import sys

import pytest

HEAVY = [
    "torch",
    "ultralytics",
    "faiss",
    "open_clip",
    "vllm",
    "onnxruntime",
    "openvino",
    "sklearn",
    "matplotlib",
    "transformers",
]
LIGHT = [
    "wristmir_ray",
    "wristmir_ray.schemas",
    "wristmir_ray.storage",
    "wristmir_ray.job",
    "wristmir_ray.imaging.decode",
    "wristmir_ray.mining.rules",
    "wristmir_ray.models.detector",
    "wristmir_ray.models.encoder",
    "wristmir_ray.preprocess.stages",
    "wristmir_ray.attention.maps",
    "wristmir_ray.attention.stages",
    "wristmir_ray.search",
    "wristmir_ray.metrics",
    "wristmir_ray.phantom.render",
    "wristmir_ray.retrieval.index",
    "wristmir_ray.serving.client",
    "wristmir_ray.serving.service",
]


@pytest.mark.parametrize("module", LIGHT)
def test_no_heavy_import(module: str) -> None:
    code = f"import sys, {module}; print([m for m in {[*HEAVY, 'ray']} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
