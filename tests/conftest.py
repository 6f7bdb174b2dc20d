"""Shared fixtures: one real local Ray for the whole run, the real radiographs where they are."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.s3_server import s3_server

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WRISTMIR_HASH_KEY", "a key for tests alone, no patient is hashed with it")

settings.register_profile("wristmir", deadline=None)
settings.load_profile("wristmir")

REPO = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A real Ray on this machine, started once (10 to 20 s)."""
    import ray

    from wristmir_ray import raydata
    from wristmir_ray.config import RayConfig

    raydata.connect(RayConfig(progress=False, object_store_gib=0.5))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of a real S3 server process."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs, named by WRISTMIR_REAL_DATA; skips where it is not set."""
    folder = os.environ.get("WRISTMIR_REAL_DATA", "")
    if not folder:
        pytest.skip("WRISTMIR_REAL_DATA is not set: the real radiographs are not part of the project")
    return Path(folder)
