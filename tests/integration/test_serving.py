"""The service as its users start and call it: `serve run`, HTTP, a swap of the index under requests."""

import base64
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
import yaml

from tests.api_schema import check_reached, hold_against_schema
from tests.conftest import REPO
from tests.fault.steady import Query, count, replicas, right_answers, steady
from tests.integration.attack import attack, replicas_mib
from tests.integration.local_head import Head, environment, free_ports, local_head, serving, wait_until
from tests.integration.tiny_world import World, image, make_world, publish_encoder
from tests.malformed import requests
from wristmir_ray import storage
from wristmir_ray.anatomy import Region, Side
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.imaging.decode import decode
from wristmir_ray.schemas import CROPS
from wristmir_ray.serving import api
from wristmir_ray.serving.access import Role, add_key
from wristmir_ray.serving.client import Client, ServiceError

pytestmark = pytest.mark.ray

MOST_GROWN_MIB = 50.0
"""Of a replica in the second half of a thousand malformed requests: one image of 40 MiB kept would be seen."""


@dataclass(frozen=True)
class Service:
    """A running service and what it serves."""

    world: World
    client: Client
    head: Head
    config: Path
    log: Path
    """What `serve run` printed."""
    indexes: tuple[str, str]
    """Runs: of all exams (served first), of the test split alone."""
    admin: str
    """A key that may read the service's own figures."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{yaml.safe_load(self.config.read_text())['http_options']['port']}"


def build_index(root: str, **settings: Any) -> str:
    from wristmir_ray.config import RayConfig
    from wristmir_ray.retrieval.config import RetrievalConfig
    from wristmir_ray.retrieval.pipeline import run

    return run(RetrievalConfig(root=root, ray=RayConfig(progress=False), **settings)).runs["index"]


def keys_file(config: Path) -> Path:
    return config.with_name("keys.yaml")


def write_config(path: Path, root: str, port: int, index_run: str | None = None) -> None:
    """Write the repository's own serve_config.yaml with another root, port and index."""
    config = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] |= {"root": root, "rate_limit": None, "api_keys": str(keys_file(path))}
    (ingress,) = [d for d in application["deployments"] if d["name"] == "Ingress"]
    ingress["user_config"]["index_run"] = index_run
    path.write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def world(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, tuple[str, str]]:
    world = make_world(tmp_path_factory.mktemp("world"))
    part = build_index(world.root, splits=["test"])
    whole = build_index(world.root)
    return world, (whole, part)


@pytest.fixture(scope="module")
def service(world: tuple[World, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    (port,) = free_ports(1)
    folder = tmp_path_factory.mktemp("service")
    config = folder / "serve_config.yaml"
    keys = {role: add_key(keys_file(config), f"the-{role}", role) for role in Role}
    write_config(config, world[0].root, port)
    log = folder / "log"
    with local_head(REPO) as head, serving(config, port, head, log) as url, Client(url, keys[Role.READ]) as client:
        yield Service(world[0], client, head, config, log, world[1], keys[Role.ADMIN])


@pytest.mark.parametrize("mode", list(api.Mode))
def test_an_exam_of_the_archive_finds_itself_first(service: Service, mode: api.Mode) -> None:
    """Decode, detection, crop and encoder of a query give the very vectors the index holds."""
    exam_id, png = list(service.world.images.items())[5]
    found = service.client.search(image=png, mode=mode, region=Region.DISTAL_ULNA, k=10)
    best = found.hits[0]
    assert best.exam_id == exam_id
    score = best.global_score if mode is api.Mode.GLOBAL else best.region_score
    assert score == pytest.approx(1.0, abs=1e-5)
    assert [h.final_rank for h in found.hits] == list(range(1, 11))
    assert (found.exactness, found.fallback, found.gallery) == ("exact", None, 12)
    assert {"decode", "detect", "encode", "total"} < set(found.stage_ms)
    assert set(found.query_boxes) == set(Region)
    assert found.lineage.index == service.indexes[0]
    assert len(best.findings) == len(Region)
    assert best.caption == next(f.caption for f in best.findings if f.region is Region.DISTAL_ULNA)
    assert best.box is not None


def test_an_exam_id_gives_what_its_image_gives_without_its_patient(service: Service) -> None:
    exam_id, png = list(service.world.images.items())[4]
    by_image = service.client.search(image=png, pool=12, k=12)
    by_id = service.client.search(exam_id=exam_id, pool=12, k=12)
    known = {h.exam_id: h.region_score for h in by_image.hits}
    assert exam_id not in {h.exam_id for h in by_id.hits}
    assert len(by_id.hits) == 10  # the patient's other exam is no hit either
    for hit in by_id.hits:
        assert hit.region_score == pytest.approx(known[hit.exam_id], abs=1e-5)


def test_filters_hold(service: Service) -> None:
    found = service.client.search(image=image(99), laterality=Side.LEFT, age_max=9, k=12)
    assert 0 < len(found.hits) <= found.gallery < 12
    assert all(h.laterality == "left" and h.age_years is not None and h.age_years <= 9 for h in found.hits)


def test_a_text_is_a_query(service: Service) -> None:
    found = service.client.search(text="distal radius region showing buckle fracture.", mode=api.Mode.REGION, k=3)
    assert len(found.hits) == 3
    scores = [h.region_score for h in found.hits]
    assert scores == sorted(scores, reverse=True)
    assert found.query_boxes == {}


def test_the_archive_its_exams_and_crops(service: Service) -> None:
    (summary,) = service.client.archives()
    assert (summary.exams, summary.regions[Region.ULNAR_STYLOID]) == (12, 12)
    exam_id = next(iter(service.world.images))
    exam = service.client.exam(exam_id)
    assert exam.laterality == "left"
    assert set(exam.boxes) == set(Region)
    png = service.client.crop(exam_id, Region.DISTAL_RADIUS)
    (stored,) = [
        r["png"] for r in storage.KeyedReader(service.world.root, CROPS).rows(exam_id) if r["region"] == "distal_radius"
    ]
    np.testing.assert_array_equal(decode_png(png), decode_png(stored))


def test_a_batch_is_answered_line_by_line(service: Service) -> None:
    exams = list(service.world.images)
    queries = [api.BatchQuery(id=e, exam_id=e, mode=api.Mode.REGION, k=3) for e in exams]
    queries.append(api.BatchQuery(id="upload", image=base64.b64encode(service.world.images[exams[0]]), k=3))
    queries.append(api.BatchQuery(id="none", exam_id="f" * 32))
    found = {a.id: a for a in service.client.batch_search(queries)}
    assert set(found) == {*exams, "upload", "none"}
    assert found["none"].problem is not None
    assert found["none"].problem.code == "unknown_exam"
    for exam in exams:
        answer = found[exam].answer
        assert answer is not None
        alone = service.client.search(exam_id=exam, mode=api.Mode.REGION, k=3)
        assert [h.exam_id for h in answer.hits] == [h.exam_id for h in alone.hits]
    uploaded = found["upload"].answer
    assert uploaded is not None
    assert uploaded.hits[0].exam_id == exams[0]


def test_without_a_key_there_is_no_answer_and_its_figures_are_for_admins(service: Service) -> None:
    with Client(service.url) as stranger, pytest.raises(ServiceError, match="401 no_key"):
        stranger.archives()
    assert httpx.get(f"{service.url}/healthz").status_code == 200
    service.client.search(exam_id=next(iter(service.world.images)))
    figures = httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {service.admin}"})
    assert 'wristmir_stage_seconds_count{stage="rerank"}' in figures.text


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"image": b"not an image"}, 422, "unknown_format"),
        ({"image": b""}, 422, "empty_file"),
        ({"exam_id": "f" * 32}, 404, "unknown_exam"),
        ({"image": b"0" * (65 * 2**20)}, 413, "upload_too_large"),
    ],
)
def test_bad_queries_are_problems(service: Service, query: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        service.client.search(**query)
    assert (caught.value.problem.status, caught.value.problem.code) == (status, code)


def test_an_exam_s_image_is_shown_while_it_is_the_exam_s(service: Service) -> None:
    exam_id, png = list(service.world.images.items())[3]
    gray = decode(png, DecodeConfig()).gray
    np.testing.assert_array_equal(decode_png(service.client.image(exam_id)), gray)
    assert max(decode_png(service.client.image(exam_id, max_side=64)).shape) == 64
    with pytest.raises(ServiceError, match="404 unknown_exam"):
        service.client.image("f" * 32)

    source = service.world.sources[exam_id]
    try:
        source.write_bytes(image(98))
        with pytest.raises(ServiceError, match="410 source_changed") as changed:
            service.client.image(exam_id)
        source.unlink()
        with pytest.raises(ServiceError, match="410 source_unreadable") as gone:
            service.client.image(exam_id)
    finally:
        source.write_bytes(png)
    assert source.name not in f"{changed.value} {gone.value}"


def test_an_answer_has_one_id_and_readiness_is_told_in_full_to_holders_of_a_key(service: Service) -> None:
    for sent in (None, "abcdef-123", "x"):
        answer = httpx.get(f"{service.url}/readyz", headers={"X-Request-Id": sent} if sent else {})
        assert answer.json() == {"ready": True, "lineage": None}
        assert len(answer.headers.get_list("x-request-id")) == 1
        assert (answer.headers["x-request-id"] == sent) == (sent == "abcdef-123")
    assert service.client.ready().lineage == service.client.archives()[0].lineage


@pytest.mark.parametrize("examples", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_the_service_is_as_its_schema_has_it(service: Service, examples: int) -> None:
    exam_id, png = next(iter(service.world.images.items()))
    headers = {"Authorization": f"Bearer {service.admin}"}
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers=headers)
    check_reached(hold_against_schema(schema, examples, {"image": png, "exam_id": exam_id, "text": "buckle"}, headers))


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_malformed_requests_are_refused_and_nothing_else_happens(service: Service, count: int) -> None:
    """The memory of a replica that keeps something of each request grows by the same at each measurement."""
    exam_id, png = next(iter(service.world.images.items()))
    before = service.client.search(image=png, region=Region.DISTAL_ULNA)
    sent = requests(count, count, png, exam_id, service.admin)
    found = attack(service.url, sent, lambda: replicas_mib(service.head.session))
    after = service.client.search(image=png, region=Region.DISTAL_ULNA)
    print(f"\nby status: {dict(sorted(found.statuses.items()))}\nMiB: {found.rss_mib}\nMiB a 50: {found.slopes(4)}")
    assert found.unexpected == []
    assert (after.hits, after.query_boxes) == (before.hits, before.query_boxes)
    assert len({name for name in found.rss_mib if "Replica" in name}) == 5  # the same processes, before and after
    grown = {name: values[-1] - values[len(values) // 2] for name, values in found.rss_mib.items()}
    assert count < 1_000 or max(grown.values()) < MOST_GROWN_MIB, grown


def test_where_the_ingress_listens_itself_all_is_as_at_the_proxy(service: Service) -> None:
    exam_id, png = next(iter(service.world.images.items()))
    (door,) = service.head.doors()
    assert door != service.url
    steering = {"X-Request-Id": "abcdef-123", "X-Request-Timeout-Seconds": "0.000001"}
    answer = httpx.get(f"{door}/readyz", headers=steering)
    assert (answer.status_code, answer.headers.get_list("x-request-id")) == (200, ["abcdef-123"])
    with Client(door, service.admin) as client:
        found, wanted = (c.search(image=png, region=Region.DISTAL_ULNA) for c in (client, service.client))
    assert (found.hits, found.query_boxes) == (wanted.hits, wanted.query_boxes)
    sent = requests(60, 1, png, exam_id, service.admin)
    assert attack(door, sent, lambda: replicas_mib(service.head.session)).unexpected == []


def test_many_clients_get_the_answers_of_one(service: Service) -> None:
    """Batches do not mix answers up."""
    wanted = dict(list(service.world.images.items())[:8])
    got: dict[str, str] = {}

    def ask(exam_id: str, png: bytes) -> None:
        got[exam_id] = service.client.search(image=png, mode=api.Mode.REGION, k=1).hits[0].exam_id

    threads = [threading.Thread(target=ask, args=pair) for pair in wanted.items()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == {e: e for e in wanted}


def test_a_killed_part_is_an_honest_503_or_nothing_at_all(service: Service) -> None:
    """The short form of tests/fault/test_serving_faults.py: no wrong answer, no request without one."""
    queries = [Query({"exam_id": e, "region": Region.DISTAL_ULNA}) for e in service.world.images]
    queries.append(Query({"image": image(99), "region": Region.DISTAL_ULNA}))
    right = {service.indexes[0]: right_answers(service.url, queries, service.admin)}
    killed = [replicas({service.head.session}, name)[0] for name in ("Encode", "Ingress")]
    with steady(service.url, queries, 10, service.admin) as load:
        for process in killed:
            time.sleep(1)
            process.send_signal(signal.SIGKILL)
        time.sleep(3)
    found = count(load.ended, right)
    assert (found.wrong, found.lost, found.other) == (0, {}, {}), found.told()
    assert found.right > 0
    wait_until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200)
    assert right_answers(service.url, queries, service.admin) == right[service.indexes[0]]


def test_the_index_is_swapped_under_requests_and_a_wrong_one_is_not(service: Service) -> None:
    whole, part = service.indexes
    seen: list[str] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                seen.append(service.client.search(image=image(99)).lineage.index)
            except ServiceError as e:
                seen.append(str(e))

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        deploy(service, part)
        wait_until(lambda: seen[-1:] == [part])
        deploy(service, "no-such-run")
        wait_until(lambda: "kept the current index" in service.log.read_text())
        before = len(seen)
        wait_until(lambda: len(seen) > before + 5)
    finally:
        stop.set()
        asking.join()
    assert set(seen) == {whole, part}
    assert seen[-1] == part
    assert service.client.archives()[0].exams == 6


def deploy(service: Service, index_run: str) -> None:
    """`serve deploy`, as an operator swaps the index."""
    port = yaml.safe_load(service.config.read_text())["http_options"]["port"]
    write_config(service.config, service.world.root, port, index_run)
    service.head.deploy(service.config)


def test_the_service_refuses_an_index_of_another_encoder(world: tuple[World, tuple[str, str]], tmp_path: Path) -> None:
    """Stands last: it publishes a newer encoder in the same archive."""
    root = world[0].root
    config = tmp_path / "serve_config.yaml"
    add_key(keys_file(config), "reader", Role.READ)
    write_config(config, root, 8000)
    assert check(config).returncode == 0
    publish_encoder(root, "run2", seed=1)
    refused = check(config)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "jobs/build_index.py" in refused.stderr


def check(config: Path) -> "subprocess.CompletedProcess[str]":
    command = ["python", "-m", "wristmir_ray.serving.check", str(config)]
    return subprocess.run(
        command, env=environment(), cwd=REPO, check=False, capture_output=True, text=True, timeout=120
    )
