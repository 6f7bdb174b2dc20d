"""What tests of the service share."""

from pathlib import Path

import pytest

from tests.unit.serving.made_archive import publish_archive
from wristmir_ray.serving.config import ServeArgs


@pytest.fixture
def args(tmp_path: Path) -> ServeArgs:
    """Of a service over the made-up archive."""
    root = str(tmp_path / "archive")
    publish_archive(root)
    return ServeArgs(root=root)
