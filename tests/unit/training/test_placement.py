"""Is there ever room for the ranks, on a local Ray or a cluster that may grow; what ends a run and how it is told."""

from typing import Any

import pytest
import ray
from ray._private.state import state
from ray.train.v2.api.exceptions import WorkerGroupError

from wristmir_ray.errors import ConfigError, StoreFailed, TrainingDiverged
from wristmir_ray.training.config import WorkersConfig
from wristmir_ray.training.trainer import EndAtOnce, _cause, _scaling, check_placeable


def node(cpus: float, gpus: float = 0, pool: str = "gpu", alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Labels": {"pool": pool}, "Resources": {"CPU": cpus, "GPU": gpus}}


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The cluster's nodes, none at first; a Ray that was started for the run."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "nodes", lambda: found)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return found


def test_ranks_are_counted_node_by_node(nodes: list[dict[str, Any]]) -> None:
    nodes += [node(7, gpus=4), node(9, gpus=4), node(64, pool="cpu"), node(8, gpus=8, alive=False)]
    with pytest.raises(ConfigError, match="4 ranks of 4 CPU, 1 GPU each cannot be placed: there is room for 3"):
        check_placeable(WorkersConfig())
    check_placeable(WorkersConfig(num_workers=3))
    check_placeable(WorkersConfig(num_workers=4, min_workers=3))
    check_placeable(WorkersConfig(num_workers=4, cpus=3))


def test_only_nodes_with_the_labels_count(nodes: list[dict[str, Any]]) -> None:
    nodes += [node(64, pool="cpu"), node(8, gpus=2)]
    workers = {"use_gpu": False, "num_workers": 3}
    with pytest.raises(ConfigError, match=r"on nodes labelled .* room for 2"):
        check_placeable(WorkersConfig(**workers, label_selector={"pool": "gpu"}))  # type: ignore[arg-type]
    check_placeable(WorkersConfig(**workers, label_selector={"pool": "cpu"}))  # type: ignore[arg-type]
    check_placeable(WorkersConfig(**workers, label_selector={"pool": "!gpu"}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("most", "fits"), [(None, True), ({"CPU": 16, "GPU": 4}, True), ({"CPU": 64, "GPU": 2}, False)]
)
def test_a_cluster_may_grow_up_to_what_it_declares(
    most: dict[str, int] | None, fits: bool, nodes: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: most)
    if fits:
        check_placeable(WorkersConfig())
        return
    with pytest.raises(ConfigError, match="there is room for 2"):
        check_placeable(WorkersConfig())


def test_elastic_ranks_are_asked_of_ray_train_as_a_range() -> None:
    scaling = _scaling(WorkersConfig(num_workers=4, min_workers=2, resize_check_s=7, label_selector={"pool": "gpu"}))
    assert scaling.num_workers == (2, 4)
    assert scaling.elastic_resize_monitor_interval_s == 7
    assert scaling.label_selector == {"pool": "gpu"}
    assert _scaling(WorkersConfig()).num_workers == 4


def test_no_fewer_ranks_than_asked_for_can_be_the_least() -> None:
    with pytest.raises(ValueError, match="min_workers 5 is more than num_workers 4"):
        WorkersConfig(min_workers=5)


def test_only_what_another_try_would_meet_again_ends_a_run_at_once() -> None:
    end = EndAtOnce()
    end.after_exception(None, {0: RuntimeError("a rank died"), 1: StoreFailed("the disk is full")})
    with pytest.raises(TrainingDiverged, match="no number"):
        end.after_exception(None, {0: RuntimeError("a rank waited for another"), 1: TrainingDiverged("no number")})


def test_a_cause_quotes_our_own_messages_alone() -> None:
    ours, other = StoreFailed("the disk is full"), RuntimeError("somebody's name")
    assert _cause(WorkerGroupError("", {1: ours})) == "the disk is full"
    assert _cause(WorkerGroupError("", {1: other})).startswith("RuntimeError on 1 rank(s)")
