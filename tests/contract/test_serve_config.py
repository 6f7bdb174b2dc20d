"""serve_config.yaml is what Serve and our deployments take, bounded everywhere, and fits on two cores."""

from typing import Any

import pytest
import yaml

from tests.conftest import REPO
from wristmir_ray.serving.config import BatchSettings, SearchSettings, ServeArgs


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
    assert SearchSettings(**deployments["Search"]["user_config"]) == SearchSettings()


def test_every_deployment_is_ours_and_bounded(deployments: dict[str, dict[str, Any]]) -> None:
    assert set(deployments) == {"Ingress", "Extract", "Encode", "Search", "Images"}
    for deployment in deployments.values():
        assert deployment["num_replicas"] >= 1
        assert deployment["max_ongoing_requests"] > 0
        assert deployment["max_queued_requests"] > 0
    assert sum(d["ray_actor_options"]["num_cpus"] for d in deployments.values()) <= 2
    assert deployments["Encode"]["max_ongoing_requests"] >= 2 * BatchSettings().max_batch_size
