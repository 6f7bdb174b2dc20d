"""cluster.yaml is a file `ray up` accepts, and keeps its promises about cost and versions."""

import copy
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import REPO
from tests.integration.local_head import serve_switches


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPO / "cluster.yaml").read_text())
    return loaded


def validated(cluster: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import fillout_defaults, validate_config

    filled: dict[str, Any] = fillout_defaults(copy.deepcopy(cluster))
    validate_config(filled)
    return filled


def test_ray_up_accepts_it(cluster: dict[str, Any]) -> None:
    filled = validated(cluster)
    assert filled["available_node_types"].keys() == cluster["available_node_types"].keys()


def test_ray_refuses_an_unknown_key(cluster: dict[str, Any]) -> None:
    """The check above can fail: Ray's schema refuses what it does not know."""
    wrong = copy.deepcopy(cluster)
    wrong["available_node_types"]["gpu_spot"]["max_worker"] = 1
    with pytest.raises(jsonschema.ValidationError):
        validated(wrong)


def test_pools_scale_between_zero_and_a_limit(cluster: dict[str, Any]) -> None:
    workers = {n: t for n, t in cluster["available_node_types"].items() if n != cluster["head_node_type"]}
    assert {t["labels"]["pool"] for t in workers.values()} == {"cpu", "gpu"}
    assert all(t["min_workers"] == 0 and t["max_workers"] > 0 for t in workers.values())
    assert sum(t["max_workers"] for t in workers.values()) == cluster["max_workers"]
    gpu = {t["labels"]["ray.io/market-type"]: t["priority"] for t in workers.values() if t["labels"]["pool"] == "gpu"}
    assert gpu["spot"] > gpu["on-demand"]


def test_head_does_no_work(cluster: dict[str, Any]) -> None:
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "--dashboard-host=127.0.0.1" in " ".join(cluster["head_start_ray_commands"])


def test_nodes_install_the_lock_and_never_a_nightly_ray(cluster: dict[str, Any]) -> None:
    filled = validated(cluster)
    commands = "\n".join(filled["setup_commands"] + filled["head_setup_commands"] + filled["worker_setup_commands"])
    assert "requirements/gpu.txt" in commands
    assert "ray-wheels" not in commands
    assert "dev0" not in commands
    assert (REPO / "requirements" / "gpu.txt").is_file()


def test_nodes_serve_as_make_serve_does(cluster: dict[str, Any]) -> None:
    switches = serve_switches()
    assert len(switches) > 1
    exported = " ".join(cluster["setup_commands"]).split("export ")[1].split(";")[0].split()
    assert {f"{name}={value}" for name, value in switches.items()} <= set(exported)
