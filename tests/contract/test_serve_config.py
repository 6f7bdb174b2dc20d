"""serve_config.yaml is what Serve and our deployments take, bounded everywhere, and fits on two cores."""

import copy
from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from wristmir_ray.serving.config import BatchSettings, BonesSettings, SearchSettings, ServeArgs


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def deployments(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (application,) = config["applications"]
    return {d["name"]: d for d in application["deployments"]}


def test_serve_takes_it(config: dict[str, Any]) -> None:
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(config)
    assert schema.http_options.host == "127.0.0.1"
    assert schema.http_options.request_timeout_s


def test_we_take_its_arguments(config: dict[str, Any], deployments: dict[str, dict[str, Any]]) -> None:
    given = config["applications"][0]["args"]
    assert set(given) == set(ServeArgs.model_fields)
    assert ServeArgs(**given) == ServeArgs(root=given["root"])
    assert BatchSettings(**deployments["Encode"]["user_config"]) == BatchSettings()
    assert SearchSettings(**deployments["Ingress"]["user_config"]) == SearchSettings()
    assert BonesSettings(**deployments["Bones"]["user_config"]) == BonesSettings()


def test_every_deployment_is_ours_and_bounded(deployments: dict[str, dict[str, Any]]) -> None:
    assert set(deployments) == {"Ingress", "Extract", "Encode", "Bones", "Look", "Images"}
    most = {n: d.get("num_replicas") or d["autoscaling_config"]["max_replicas"] for n, d in deployments.items()}
    assert most["Bones"] == 1  # where requests for the same exam meet
    for name, deployment in deployments.items():
        assert most[name] >= 1
        assert deployment["max_ongoing_requests"] > 0
        assert deployment["max_queued_requests"] > 0
    assert sum(most[n] * d["ray_actor_options"]["num_cpus"] for n, d in deployments.items()) <= 2
    bones = BonesSettings(**deployments["Bones"]["user_config"])
    assert bones.at_once <= deployments["Look"]["max_ongoing_requests"]
    assert deployments["Encode"]["max_ongoing_requests"] >= 2 * BatchSettings().max_batch_size


@pytest.mark.parametrize(("name", "more"), [("Search", {"user_config"}), ("Shard0", set())])
def test_the_examples_are_taken(config: dict[str, Any], name: str, more: set[str]) -> None:
    """They stand as comments: Serve refuses settings of a deployment that the application does not have."""
    from ray.serve.schema import ServeDeploySchema

    lines = (REPO / "serve_config.yaml").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip() == f"# - name: {name}")
    end = next(i for i, line in enumerate(lines[start:], start) if "ray_actor_options" in line)
    (example,) = yaml.safe_load("\n".join(line[8:] for line in lines[start : end + 1]))
    bounds = {"name", "num_replicas", "max_ongoing_requests", "max_queued_requests", "ray_actor_options"}
    assert set(example) == bounds | more
    assert SearchSettings(**example.get("user_config", {})) == SearchSettings()
    given = copy.deepcopy(config)
    given["applications"][0]["deployments"].append(example)
    ServeDeploySchema.model_validate(given)
