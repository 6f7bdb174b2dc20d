"""A non-cached archive as its users meet it: built, served, asked, restarted; beside one that stores all."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from tests.conftest import REPO
from tests.integration.local_head import free_ports, local_head, serving, wait_until
from tests.integration.test_serving import build_index
from tests.integration.tiny_world import World, image, make_world
from wristmir_ray import storage
from wristmir_ray.anatomy import BONES, Box, Region, Side
from wristmir_ray.imaging.crop import decode_png
from wristmir_ray.retrieval.index import Index, SearchRequest
from wristmir_ray.retrieval.unstored import sources_of
from wristmir_ray.schemas import CROPS, REGIONS
from wristmir_ray.serving import api
from wristmir_ray.serving.client import Client, ServiceError
from wristmir_ray.serving.onthefly.flights import key_of

pytestmark = pytest.mark.ray
EXAMS = 24


@dataclass
class Archive:
    """One world, indexed twice: all regions stored, and whole wrists alone."""

    world: World
    full: str
    bare: str
    crops: dict[tuple[str, str], bytes]

    def searched(self, exam_id: str, region: Region, **more: Any) -> list[tuple[Any, ...]]:
        """Return what the index that stores all answers."""
        found = Index.load(self.world.root, self.full).search(SearchRequest(region, exam_id=exam_id, **more))
        return [(h.exam_id, h.final_rank, h.stage1_rank, h.global_score, h.region_score, h.box) for h in found.hits]


@pytest.fixture(scope="module")
def archive(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Crops and boxes are deleted once the index is built: nothing may read them."""
    world = make_world(tmp_path_factory.mktemp("world"), EXAMS)
    full, bare = build_index(world.root), build_index(world.root, regions=[])
    rows = storage.read_table(world.root, CROPS).to_pylist()
    for table in (CROPS, REGIONS):
        for file in storage.table_files(world.root, storage.published(world.root, table.name)):
            storage.delete(file)
    return Archive(world, full, bare, {(r["exam_id"], r["region"]): r["png"] for r in rows})


@contextmanager
def served(
    archive: Archive, folder: Path, deadline_s: float = 10.0, lookers: int = 1, encode_apart: bool = False
) -> Iterator[Client]:
    """Serve the index that stores whole wrists alone, with the repository's own settings but for Look's."""
    (port,) = free_ports(1)
    config = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    config["http_options"]["port"] = port
    (application,) = config["applications"]
    application["args"] |= {"root": archive.world.root, "index_run": archive.bare, "rate_limit": None}
    application["args"] |= {"cache": str(folder / "cache"), "deadline_s": deadline_s}
    application["args"]["encode_apart"] = encode_apart
    (look,) = [d for d in application["deployments"] if d["name"] == "Look"]
    look["autoscaling_config"]["min_replicas"] = lookers
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config))
    with local_head(REPO) as head, serving(path, port, head, folder / "log") as url, Client(url) as client:
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def client(archive: Archive, folder: Path) -> Iterator[Client]:
    with served(archive, folder) as client:
        yield client


def figures(client: Client) -> dict[str, float]:
    text = httpx.get(f"{client._doors[0].base_url}/metrics").text
    lines = (line for line in text.splitlines() if line.startswith("wristmir_computed_regions{"))
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def completed(client: Client, **query: Any) -> api.SearchAnswer:
    """Ask, and go on until all is settled."""
    answer = client.search(**query)
    shares = [answer.coverage.share if answer.coverage else 1.0]
    while answer.token:
        answer = client.search(token=answer.token)
        assert answer.coverage is not None
        shares.append(answer.coverage.share)
    assert shares == sorted(shares)
    return answer


def shown(answer: api.SearchAnswer) -> list[tuple[Any, ...]]:
    boxes = [None if h.box is None else Box(*h.box.model_dump().values()) for h in answer.hits]
    parts = zip(answer.hits, boxes, strict=True)
    return [(h.exam_id, h.final_rank, h.stage1_rank, h.global_score, h.region_score, box) for h, box in parts]


def test_the_index_holds_whole_wrists_and_sources_alone(archive: Archive) -> None:
    index = Index.load(archive.world.root, archive.bare)
    assert index.stored == [Region.WRIST]
    assert index.exams["source_uri"].null_count == index.exams["pixel_id"].null_count == 0
    assert index.exams["distal_ulna_box"].null_count == EXAMS
    names = {f.name for s in index.segments for f in s.folder.iterdir()}
    assert not any(name.startswith(b.value) for name in names for b in BONES)


def test_requests_at_once_compute_each_exam_once(archive: Archive, client: Client) -> None:
    exams = list(archive.world.images)[:6]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda e: completed(client, exam_id=e, region=BONES[0], pool=EXAMS, k=10), exams))
    for exam, answer in zip(exams, found, strict=True):
        assert shown(answer) == archive.searched(exam, BONES[0], pool=EXAMS, k=10)
    counted = figures(client)
    assert counted["computed"] == EXAMS
    assert counted["joined"] + counted["cached"] > 0
    assert counted["cache_write_failures"] == 0


@pytest.mark.parametrize("region", BONES)
def test_a_completed_answer_is_that_of_the_archive_that_stores_all(
    archive: Archive, client: Client, region: Region
) -> None:
    exam, png = list(archive.world.images.items())[7]
    for more in ({"pool": 12, "k": 11}, {"pool": 10, "k": 10, "one_a_patient": True}):
        by_id = completed(client, exam_id=exam, region=region, **more)
        assert shown(by_id) == archive.searched(exam, region, **more)
        assert by_id.coverage is not None
        assert (by_id.coverage.share, by_id.coverage.pending, by_id.fallback) == (1.0, 0, None)
        assert {h.region_state for h in by_id.hits} == {api.RegionState.COMPARED}
    upload = completed(client, image=png, region=region, pool=12, k=5)
    assert upload.hits[0].exam_id == exam
    assert upload.hits[0].region_score == pytest.approx(1.0, abs=1e-5)
    assert region in upload.query_boxes


def test_filters_texts_and_whole_wrists_are_as_ever(archive: Archive, client: Client) -> None:
    left = completed(client, image=image(99), laterality=Side.LEFT, pool=20, k=20)
    assert 0 < len(left.hits) <= left.gallery < EXAMS
    assert {h.laterality for h in left.hits} == {"left"}
    text = completed(client, text="distal radius region showing buckle fracture.", pool=5, k=3)
    assert len(text.hits) == 3
    whole = client.search(image=image(99), mode=api.Mode.GLOBAL)
    assert (whole.coverage, whole.token) == (None, None)
    (summary,) = client.archives()
    assert (summary.computed, summary.regions[BONES[0]]) == (list(BONES), 0)


def test_crops_are_cut_anew(archive: Archive, client: Client) -> None:
    exam = list(archive.world.images)[3]
    for region in Region:
        assert (decode_png(client.crop(exam, region)) == decode_png(archive.crops[exam, region])).all()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"mode": "region", "text": "a"}, 422, "not_stored"),
        ({"only_similar": True, "image": image(99)}, 422, "not_calibrated"),
        ({"token": "AAAA"}, 422, "invalid_token"),
        ({"exam_id": "f" * 32}, 404, "unknown_exam"),
    ],
)
def test_what_cannot_be_asked_is_told(client: Client, query: dict[str, Any], status: int, code: str) -> None:
    with pytest.raises(ServiceError) as caught:
        client.search(**query)
    assert (caught.value.problem.status, caught.value.problem.code) == (status, code)


def test_restarted_changed_and_unfinished(archive: Archive, client: Client, folder: Path, tmp_path: Path) -> None:
    """Stands last: a second service on the first one's cache, after images were changed and deleted."""
    cache = folder / "cache"
    exam = next(iter(archive.world.images))
    wanted = archive.searched(exam, BONES[0], pool=EXAMS, k=EXAMS)
    assert shown(completed(client, exam_id=exam, region=BONES[0], pool=EXAMS, k=EXAMS)) == wanted
    computed = figures(client)["computed"]
    wait_until(lambda: len(read_cache(cache)) == computed)
    shutil.copytree(cache, tmp_path / "cache")
    index, known = Index.load(archive.world.root, archive.bare), set(read_cache(cache))
    sources = sources_of(index, np.array([[0, row] for row in range(EXAMS)]))
    changed, gone, *_ = (s for s in sources if key_of(s, BONES[1]) not in known)
    Path(changed.uri).write_bytes(image(77))
    Path(gone.uri).unlink()
    with served(archive, tmp_path, deadline_s=0.001, lookers=0, encode_apart=True) as again:
        warm = completed(again, exam_id=exam, region=BONES[0], pool=EXAMS, k=EXAMS, deadline_s=10)
        assert shown(warm) == wanted
        assert figures(again)["computed"] == 0  # all of it came from the first service's cache
        # No replica of Look is there yet: the first to need one is told so in time, and goes on.
        late = again.search(image=image(98), region=BONES[1], pool=EXAMS, k=EXAMS)
        assert late.coverage is not None
        assert late.token
        assert {h.region_state for h in late.hits} >= {api.RegionState.PENDING}
        done = again.search(token=late.token, deadline_s=10)
        while done.token:
            done = again.search(token=done.token, deadline_s=10)
        states = {h.exam_id: h.region_state for h in done.hits}
        assert states[changed.exam_id] is api.RegionState.SOURCE_CHANGED
        assert states[gone.exam_id] is api.RegionState.SOURCE_UNREADABLE
        assert done.coverage is not None
        assert (done.coverage.unusable, done.coverage.share) == (2, 1.0)
        assert done.query_boxes == late.query_boxes


def read_cache(folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    files = storage.list_files(str(folder), ".parquet")
    return [key for f in files if Path(f).exists() for key in pq.read_table(f)["key"].to_pylist()]
