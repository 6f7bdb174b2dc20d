"""The service over two shards as its users call it: the answers of one index, a swap, a shard that dies."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.conftest import REPO
from tests.integration.local_head import Head, free_ports, local_head, serving, wait_until
from tests.integration.tiny_world import RUN, World, make_world
from wristmir_ray import storage
from wristmir_ray.anatomy import Region, Side
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.retrieval import assembled, pipeline
from wristmir_ray.retrieval.config import RetrievalConfig
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.publishing import publish_index, update
from wristmir_ray.schemas import CAPTIONS, CROPS, EXAMS, REGIONS, embeddings
from wristmir_ray.serving import api
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.client import Client, ServiceError
from wristmir_ray.serving.config import SearchSettings, ServeArgs
from wristmir_ray.serving.lineage import preflight
from wristmir_ray.serving.service import Query
from wristmir_ray.tables import conform

pytestmark = pytest.mark.ray

SHARDS = 2


@dataclass
class Service:
    """A running service of two shards, and what it serves."""

    world: World
    client: Client
    head: Head
    config: Path
    whole: str
    part: str
    """Run from which every fourth exam was deleted."""
    bare: str
    """Run that stores whole wrists alone."""

    @property
    def port(self) -> int:
        return int(yaml.safe_load(self.config.read_text())["http_options"]["port"])

    def one(self, index_run: str) -> Archive:
        """Return the same run as one index."""
        args = ServeArgs(root=self.world.root)
        return Archive.load(args, preflight(args), SearchSettings(index_run=index_run))


def write_config(path: Path, root: str, port: int, started_with: str, index_run: str | None = None) -> None:
    """Write the repository's own serve_config.yaml with two shards."""
    config = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] |= {"root": root, "rate_limit": None, "index_run": started_with, "shards": SHARDS}
    (ingress,) = [d for d in application["deployments"] if d["name"] == "Ingress"]
    ingress["user_config"]["index_run"] = index_run
    application["deployments"] += [
        {"name": f"Shard{i}", "num_replicas": 1, "health_check_period_s": 1, "ray_actor_options": {"num_cpus": 0.2}}
        for i in range(SHARDS)
    ]
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    world = make_world(tmp_path_factory.mktemp("world"))
    bare, whole = publish(world.root, [Region.WRIST]), publish(world.root, list(Region))
    index = Index.load(world.root)
    nothing = {r: index.segments[0].vectors[r][:0] for r in Region}
    gone = list(world.images)[::4]
    part = update(world.root, index.exams.slice(0, 0), nothing, delete=gone).run_id
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("service")
    config = folder / "serve_config.yaml"
    write_config(config, world.root, port, whole)
    with local_head(REPO) as head, serving(config, port, head, folder / "log") as url, Client(url) as client:
        yield Service(world, client, head, config, whole, part, bare)


def publish(root: str, stored: list[Region]) -> str:
    """Publish what `jobs/build_index.py` does, in this process: no Ray Data is started for twelve exams."""
    model = load_encoder(root)
    inputs = {t.name: RUN for t in (EXAMS, REGIONS, CROPS, CAPTIONS)}
    inputs["embeddings"] = f"of {len(stored)} regions"
    crops = [r for r in storage.read_table(root, CROPS).to_pylist() if r["region"] in stored]
    vectors = model.encode_images([decode_png(r["png"]) for r in crops])
    rows = conform(
        [{"exam_id": r["exam_id"], "region": r["region"], "embedding": v} for r, v in zip(crops, vectors, strict=True)],
        embeddings(model.dim),
    )
    exams = assembled.metadata_of(root, inputs, rows, stored)
    arrays = {r: assembled.dense(rows, r, exams["exam_id"], model.dim) for r in stored}
    config = RetrievalConfig(root=root, regions=stored[1:])
    return publish_index(root, pipeline._planned(config, inputs, RUN), exams, arrays, model.digest).run_id


def asked(service: Service) -> Iterator[dict[str, Any]]:
    for exam_id in service.world.images:
        for mode in api.Mode:
            yield {"exam_id": exam_id, "mode": mode, "region": Region.DISTAL_ULNA, "k": 5, "pool": 7}
    some = next(iter(service.world.images))
    yield {"exam_id": some, "laterality": Side.LEFT, "age_max": 11}
    yield {"exam_id": some, "one_a_patient": True, "k": 3}
    yield {"exam_id": some, "only_similar": True, "mode": "global"}
    yield {"exam_id": some, "age_min": 17.5}


def expected(archive: Archive, exam_id: str, **parameters: Any) -> dict[str, Any]:
    found = archive.search(Query(api.SearchParameters(**parameters), exam_id=exam_id))
    assert isinstance(found, api.SearchAnswer)
    return shown(found)


def shown(found: api.SearchAnswer) -> dict[str, Any]:
    return found.model_dump(mode="json", exclude={"stage_ms"})


def test_its_answers_are_those_of_one_index(service: Service) -> None:
    one, client = service.one(service.whole), service.client
    for query in asked(service):
        assert shown(client.search(**query)) == expected(one, **query), query
    lines = [api.BatchQuery(id=str(i), **{"k": 5, **query}) for i, query in enumerate(asked(service))]
    for answered in client.batch_search(lines):
        assert answered.answer is not None
        assert answered.answer.lineage.index == service.whole
    assert client.archives() == [one.summary()]
    for exam_id, png in list(service.world.images.items())[:3]:
        assert client.exam(exam_id) == one.exam(exam_id)
        assert client.crop(exam_id, Region.DISTAL_ULNA) == one.crop(exam_id, Region.DISTAL_ULNA)
        assert client.image(exam_id)
        assert client.search(image=png, mode="region", region=Region.DISTAL_ULNA).hits[0].exam_id == exam_id
    stages = client.search(image=next(iter(service.world.images.values()))).stage_ms
    assert {"encode", "filter", "coarse", "scatter", "merge", "rerank", "metadata", "total"} <= set(stages)
    for ask in (client.exam, lambda e: client.search(exam_id=e)):
        with pytest.raises(ServiceError, match="404 unknown_exam"):
            ask("f" * 32)


def test_a_shard_that_hangs_or_dies_is_a_503_and_then_the_same_answer(service: Service) -> None:
    one = service.one(service.whole)
    query = next(asked(service))
    pid = replica(service, "Shard1")
    os.kill(pid, signal.SIGSTOP)
    try:
        ready = httpx.get(f"http://127.0.0.1:{service.port}/readyz", timeout=20)
        with pytest.raises(ServiceError, match="503 not_ready"):
            service.client.search(**query)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert ready.status_code == 503
    assert shown(answer_of(service, query)) == expected(one, **query)
    os.kill(pid, signal.SIGKILL)
    assert shown(answer_of(service, query)) == expected(one, **query)
    assert replica(service, "Shard1") != pid
    for query in asked(service):
        assert shown(service.client.search(**query)) == expected(one, **query)


def answer_of(service: Service, query: dict[str, Any], seconds: float = 60.0) -> api.SearchAnswer:
    """Return the first answer; until then there are 503s alone."""
    until = time.monotonic() + seconds
    while True:
        try:
            return service.client.search(**query)
        except ServiceError as e:
            if e.problem.status != 503 or time.monotonic() > until:
                raise
        time.sleep(0.2)


def replica(service: Service, name: str) -> int:
    """Return the process of a deployment's replica."""
    for process in psutil.process_iter(["cmdline"]):
        with suppress(psutil.Error, ProcessLookupError):
            title = " ".join(process.info["cmdline"] or [])
            if f":{name}" in title and "ServeReplica" in title and os.getsid(process.pid) == service.head.session:
                return process.pid
    raise AssertionError(f"no replica of {name}")


def test_runs_are_swapped_without_a_failed_or_a_mixed_answer(service: Service) -> None:
    """The last one stores whole wrists alone: its answers come to be those of the first."""
    ones = {run: service.one(run) for run in (service.whole, service.part)}
    exam_id = list(service.world.images)[1]
    query = {"exam_id": exam_id, "mode": "global", "k": 9}
    wanted = {run: expected(one, **query) for run, one in ones.items()}
    seen: list[str] = []
    wrong: list[Any] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                found = service.client.search(**query)
            except ServiceError as e:
                wrong.append(e)
                continue
            if shown(found) != wanted.get(found.lineage.index) and found.lineage.index != service.bare:
                wrong.append(found)
            seen.append(found.lineage.index)

    asking = [threading.Thread(target=keep_asking) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for run in (service.part, service.bare):
            deploy(service, run)
            wait_until(lambda run=run: seen[-1:] == [run])  # type: ignore[misc]
    finally:
        stop.set()
        for thread in asking:
            thread.join()
    assert wrong == []
    assert set(seen) == {service.whole, service.part, service.bare}
    computed = {"exam_id": exam_id, "mode": "two_stage", "region": Region.DISTAL_ULNA, "k": 9, "deadline_s": 15}
    found = service.client.search(**computed)
    while found.token:
        found = service.client.search(token=found.token)
    stored = ones[service.whole].search(
        Query(api.SearchParameters(mode="two_stage", region="distal_ulna", k=9), exam_id=exam_id)
    )
    assert isinstance(stored, api.SearchAnswer)
    facts = [
        [(h.exam_id, h.stage1_rank, h.global_score, h.region_score, h.box) for h in f.hits] for f in (found, stored)
    ]
    assert facts[0] == facts[1]
    assert found.coverage is not None
    assert found.coverage.compared == len(service.world.images) - 2


def deploy(service: Service, index_run: str) -> None:
    """`serve deploy`, as an operator swaps the index."""
    write_config(service.config, service.world.root, service.port, service.whole, index_run)
    service.head.deploy(service.config)
