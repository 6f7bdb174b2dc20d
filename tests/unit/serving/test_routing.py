"""Calls go to the replica with the fewest of ours; of equals, each has its turn."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

from wristmir_ray.serving.routing import FewestCalls, fewest_calls


def router() -> Any:
    """Return a router without Serve's own state: what it believes of queues is not asked."""
    made = object.__new__(FewestCalls)
    made._under_way, made._chosen, made._use_replica_queue_len_cache = Counter(), {}, False
    return made


def replicas(*names: str) -> list[Any]:
    return [SimpleNamespace(replica_id=name) for name in names]


def choose(made: Any, *names: str) -> list[str]:
    return [rank[0].replica_id for rank in asyncio.run(made.choose_replicas(replicas(*names)))]


def test_calls_that_are_chosen_for_before_any_is_sent_are_spread() -> None:
    made = router()
    assert [choose(made, "a", "b", "c")[0] for _ in range(6)] == ["a", "b", "c"] * 2


def test_who_has_the_fewest_is_next_however_calls_end() -> None:
    made = router()
    for name in ("a", "b", "a"):
        made.on_send_request(name)
    assert choose(made, "a", "b") == ["b", "a"]
    made.on_request_completed("a", "1")
    made.on_request_completed("a", "2")
    assert choose(made, "a", "b") == ["a", "b"]
    made.on_request_completed("a", "of another life")
    made.on_send_request("a")
    made.on_send_request("a")
    assert choose(made, "a", "b") == ["b", "a"]


def test_one_that_is_gone_is_forgotten_and_a_new_one_has_its_turn() -> None:
    made = router()
    for _ in range(4):
        choose(made, "a", "b")
    assert choose(made, "b", "c")[0] == "c"
    assert set(made._chosen) == {"b", "c"}
    assert choose(made) == []


def test_serve_can_load_it() -> None:
    assert fewest_calls().get_request_router_class() is FewestCalls
