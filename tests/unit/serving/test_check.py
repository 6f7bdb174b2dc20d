"""A service that anyone on the network could ask does not start by accident."""

from pathlib import Path

import pytest
import yaml

from wristmir_ray.errors import ConfigError
from wristmir_ray.serving.access import Role, add_key
from wristmir_ray.serving.check import check_open
from wristmir_ray.serving.config import ServeArgs


def config(folder: Path, host: str | None) -> Path:
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump({"http_options": {"host": host}} if host else {}))
    return path


@pytest.mark.parametrize("host", [None, "127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_keys(tmp_path: Path, host: str | None) -> None:
    check_open(config(tmp_path, host), ServeArgs(root="unused"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7"])
def test_a_network_needs_keys(tmp_path: Path, host: str) -> None:
    path = config(tmp_path, host)
    with pytest.raises(ConfigError, match=r"args\.api_keys"):
        check_open(path, ServeArgs(root="unused"))
    keys = tmp_path / "keys.yaml"
    with pytest.raises(ConfigError, match="make it with"):
        check_open(path, ServeArgs(root="unused", api_keys=str(keys)))
    add_key(keys, "viewer", Role.READ)
    check_open(path, ServeArgs(root="unused", api_keys=str(keys)))
