"""The service under a steady 20 requests a second while something breaks: no wrong answer, none lost, honest 503s.

Every answer is held, to the last bit, against the one that the service gave in rest, and those of exams against the
index itself. Replicas are as many as `serve_config.yaml` ships (one each), but where a node is killed.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import yaml

from tests.bench.httpworld import add_index, make_archive
from tests.conftest import REPO
from tests.fault.steady import PER_S, Counts, Query, Right, count, replicas, right_answers, steady
from tests.fault.test_preprocess_faults import no_name_space
from tests.integration.local_head import Head, free_ports, local_head, local_node, serving, set_apart, wait_until
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.query import SearchRequest

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.slow]

EXAMS, DIM = 300, 128
BEFORE_S, LOAD_S = 5.0, 30.0
RUNS = ("whole", "other")
PARTS = ("Ingress", "Extract", "Encode")
"""What every search may need."""


@dataclass(frozen=True)
class Service:
    """A running service and how it may be changed."""

    url: str
    head: Head
    config: Path
    root: str

    def deploy(self, change: Callable[[Mapping[str, Any]], None]) -> None:
        """`serve deploy`, as an operator changes settings."""
        settings = yaml.safe_load(self.config.read_text())
        change({d["name"]: d for d in settings["applications"][0]["deployments"]})
        self.config.write_text(yaml.safe_dump(settings))
        self.head.deploy(self.config)

    def serve_index(self, run: str) -> None:
        """Swap the index; return once it answers."""

        def swap(deployments: Mapping[str, Any]) -> None:
            owner = "Search" if "Search" in deployments else "Ingress"
            deployments[owner]["user_config"]["index_run"] = run

        self.deploy(swap)
        wait_until(lambda: self.serves() == run)

    def serves(self) -> str | None:
        """Return the index run that answers, or None where nothing does."""
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{self.url}/v1/archives", timeout=30)
            return str(answer.json()[0]["lineage"]["index"]) if answer.status_code == 200 else None
        return None


@contextmanager
def served(
    root: str,
    folder: Path,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    before: Sequence[str] = (),
    nodes: int = 1,
) -> Iterator[tuple[Service, list["subprocess.Popen[bytes]"]]]:
    """Serve by the repository's own settings, changed, on a head and more nodes; yield their leading processes, too."""
    (port,) = free_ports(1)
    settings = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    settings["http_options"]["port"] = port
    settings["applications"][0]["args"] |= {"root": root, "rate_limit": None, "cache": str(folder / "cache")}
    change(settings)
    config = folder / "serve_config.yaml"
    config.write_text(yaml.safe_dump(settings))
    with local_head(REPO, before) as head:
        others = [local_node(REPO, head) for _ in range(nodes - 1)]
        try:
            with serving(config, port, head, folder / "log") as url:
                yield Service(url, head, config, root), [o.process for o in others]
        finally:
            for node in others:
                node.end()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive with two indexes of the same exams, whose right answers differ."""
    made = make_archive(tmp_path_factory.mktemp("world"))
    for seed, run in enumerate(reversed(RUNS)):  # the one that is published last is served first
        add_index(made, unit_rows(EXAMS, 2 * seed), unit_rows(EXAMS, 2 * seed + 1), run)
    return made


@pytest.fixture(scope="module")
def queries(root: str) -> list[Query]:
    """Exams, uploads and texts: every part of the graph is asked."""
    images = sorted(Path(root).parent.joinpath("sources").glob("*.png"))
    exams = [Query({"exam_id": f"{i:032x}", "region": BONES[i % 3]}) for i in range(24)]
    uploads = [Query({"image": p.read_bytes(), "region": BONES[i % 3]}) for i, p in enumerate(images[:4])]
    texts = [Query({"text": f"{r.words} region showing buckle fracture.", "region": r}) for r in BONES]
    return [
        q for part in zip(exams[::6], exams[1::6], exams[2::6], exams[3::6], uploads, strict=True) for q in part
    ] + texts


@pytest.fixture(scope="module")
def service(root: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(root, tmp_path_factory.mktemp("service")) as (found, _):
        yield found


@pytest.fixture(scope="module")
def right(service: Service, queries: list[Query]) -> Right:
    """The right answers of both indexes."""
    found = {}
    for run in reversed(RUNS):
        service.serve_index(run)
        found[run] = right_answers(service.url, queries)
        check_against_the_index(Index.load(service.root, run), queries, found[run])
    assert all(a != b for a, b in zip(*found.values(), strict=True))
    return found


def unit_rows(n: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def check_against_the_index(index: Index, queries: Sequence[Query], answers: Sequence[Any]) -> None:
    """The answers for exams must be those of the opened index."""
    for query, answer in zip(queries, answers, strict=True):
        exam = query.fields.get("exam_id")
        if exam is not None:
            hits = index.search(SearchRequest(Region(str(query.fields["region"])), exam_id=str(exam))).hits
            assert [(h["exam_id"], h["region_score"]) for h in answer["hits"]] == [
                (h.exam_id, h.region_score) for h in hits
            ]


def told(capsys: pytest.CaptureFixture[str], what: str, found: Counts, **more: Any) -> None:
    with capsys.disabled():
        print(f"\n{json.dumps({'name': 'serving_faults', 'fault': what, 'per_s': PER_S, **found.told(), **more})}")


def nothing_wrong(found: Counts) -> None:
    assert (found.wrong, found.lost, found.other) == (0, {}, {}), found.told()
    assert found.right > 0


@pytest.mark.parametrize("name", ["Ingress", "Encode", "Extract"])
def test_a_killed_replica(
    name: str, service: Service, queries: list[Query], right: Right, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until another one is up, what needs it is refused, or waits; nothing else is touched."""
    survives_a_kill(name, service, service.url, queries, right, capsys)


def test_a_killed_search_that_stands_apart(
    root: str, queries: list[Query], right: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It gives the answers of the one within, and is missed alone."""
    with served(root, tmp_path, lambda s: set_apart(s["applications"][0])) as (service, _):
        survives_a_kill("Search", service, service.url, queries, right, capsys)


def test_a_killed_ingress_behind_a_balancer(
    root: str, queries: list[Query], right: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked where the replicas listen themselves, a client that goes on to the next one sees nothing of it."""

    def two(settings: dict[str, Any]) -> None:
        (ingress,) = [d for d in settings["applications"][0]["deployments"] if d["name"] == "Ingress"]
        ingress["num_replicas"] = 2

    with served(root, tmp_path, two) as (service, _):
        doors = service.head.doors()
        assert len(doors) == 2
        found = survives_a_kill("Ingress", service, doors, queries, right, capsys)
        assert not found.refused


def survives_a_kill(
    name: str,
    service: Service,
    url: str | Sequence[str],
    queries: list[Query],
    right: Right,
    capsys: pytest.CaptureFixture[str],
) -> Counts:
    """Kill one replica under load; return what became of the requests once all is as before."""
    run = service.serves()
    old = replicas({service.head.session}, name)
    with steady(url, queries) as load:
        time.sleep(BEFORE_S)
        old[0].send_signal(signal.SIGKILL)
        time.sleep(LOAD_S - BEFORE_S)
    found = count(load.ended, right)
    told(capsys, f"{name} killed, {len(old)} replicas", found)
    nothing_wrong(found)
    assert set(found.by_index) == {run}
    assert len(replicas({service.head.session}, name)) == len(old)
    assert right_answers(service.url, queries) == right[str(run)]
    return found


def test_a_swapped_index(
    service: Service, queries: list[Query], right: Right, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answer is one index's whole, and both are seen."""
    first = str(service.serves())
    (second,) = set(RUNS) - {first}
    with steady(service.url, queries) as load:
        for run in (second, first, second):
            time.sleep(BEFORE_S)
            service.serve_index(run)
    found = count(load.ended, right)
    told(capsys, "index swapped three times", found)
    nothing_wrong(found)
    assert set(found.by_index) == set(RUNS)


def spread(settings: dict[str, Any]) -> None:
    """Two replicas of each part, on two nodes; HTTP at the head alone."""
    settings["proxy_location"] = "HeadOnly"
    for deployment in settings["applications"][0]["deployments"]:
        if deployment["name"] in PARTS:
            deployment |= {"num_replicas": 2, "max_replicas_per_node": 1}


def test_a_killed_node(root: str, queries: list[Query], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other node answers what it can; a node that takes the HTTP proxy with it would cut its connections."""
    with served(root, tmp_path, spread, nodes=2) as (service, (node,)):
        run = str(service.serves())
        right = {run: right_answers(service.url, queries)}
        check_against_the_index(Index.load(root, run), queries, right[run])
        wait_until(lambda: all(replicas({node.pid}, n) for n in PARTS))  # the second of each, on the second node
        with steady(service.url, queries) as load:
            time.sleep(BEFORE_S)
            kill_session(node)
            time.sleep(LOAD_S - BEFORE_S)
        found = count(load.ended, right)
        told(capsys, "node killed", found)
        nothing_wrong(found)
        assert right_answers(service.url, queries) == right[run]


def kill_session(leader: "subprocess.Popen[bytes]") -> None:
    """Kill a node's processes at once, as a power cut does."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader.pid:
                process.send_signal(signal.SIGKILL)


DISK_KIB = 48


def test_a_full_cache_disk(local_ray: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regions that are computed are told all the same; that they could not be kept is counted."""
    from tests.integration.test_serving import build_index
    from tests.integration.tiny_world import make_world

    if no_name_space():
        pytest.skip("no mount name space may be made here: the disk cannot be filled")
    world = make_world(tmp_path, 24)
    run = build_index(world.root, regions=[])
    queries = [Query({"exam_id": e, "region": BONES[i % 3], "pool": "20"}) for i, e in enumerate(world.images)]
    cache = tmp_path / "service" / "cache"
    cache.mkdir(parents=True)
    whole = Index.load(world.root, build_index(world.root))
    small = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size={DISK_KIB}k tmpfs "$0" && exec "$@"', str(cache)]

    def bare(settings: dict[str, Any]) -> None:
        settings["applications"][0]["args"] |= {"index_run": run, "cache": str(cache)}
        for deployment in settings["applications"][0]["deployments"]:
            if deployment["name"] == "Look":
                deployment["autoscaling_config"]["min_replicas"] = 1

    with served(world.root, cache.parent, bare, small) as (service, _):
        with steady(service.url, queries) as load:
            time.sleep(LOAD_S)
        expected = right_answers(service.url, queries)
        for query, answer in zip(queries, expected, strict=True):
            request = SearchRequest(Region(str(query.fields["region"])), exam_id=str(query.fields["exam_id"]), pool=20)
            wanted = [(h.exam_id, h.global_score, h.region_score) for h in whole.search(request).hits]
            assert [(h["exam_id"], h["global_score"], h["region_score"]) for h in answer["hits"]] == wanted
        found = count([e for e in load.ended if not unfinished(e.body)], {run: expected})
        failures = written_failures(httpx.get(f"{service.url}/metrics").text)
        told(capsys, "cache disk full", found, unfinished=len(load.ended) - found.sent, write_failures=failures)
        nothing_wrong(found)
        assert failures > 0


def unfinished(body: bytes) -> bool:
    """Return whether an answer says itself that it is not whole: it has a token."""
    with suppress(ValueError):
        return bool(json.loads(body).get("token"))
    return False


def written_failures(metrics: str) -> float:
    (line,) = [
        s for s in metrics.splitlines() if s.startswith('wristmir_computed_regions{figure="cache_write_failures"}')
    ]
    return float(line.split()[-1])
