"""What is published stays, with all it was made from; the rest goes only when asked, and old enough."""

import os
import time
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.pruning.config import PruneConfig
from wristmir_ray.pruning.pipeline import find_runs, needed, run

DAYS = 24 * 3600.0


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "disk":
        return str(tmp_path)
    for name, value in empty_bucket(request.getfixturevalue("s3_endpoint")).items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/archive"


def publish(root: str, name: str, run_id: str, day: int, **more: dict[str, str]) -> None:
    storage.write_bytes(storage.join(storage.run_uri(root, name, run_id), "part", "a.parquet"), b"x" * 1000)
    storage.publish(root, storage.Manifest(name, run_id, "job", created=f"2026-01-{day:02d}T00:00:00Z", **more))


def line(root: str) -> None:
    """exams x1 -> crops c1 (detector d1) -> index i1, published; exams x2 -> crops c2 since; d0, x0, c0 are old."""
    publish(root, "exams", "x0", 1)
    publish(root, "exams", "x1", 2)
    publish(root, "detector", "d0", 1)
    publish(root, "detector", "d1", 2, inputs={"exams": "x0", "boxes": "digest"})
    publish(root, "crops", "c0", 1, inputs={"exams": "x0"})
    publish(root, "crops", "c1", 3, inputs={"exams": "x1"}, models={"detector": "d1"})
    publish(root, "index", "i1", 4, inputs={"crops": "c1"})
    publish(root, "exams", "x2", 5)
    publish(root, "crops", "c2", 6, inputs={"exams": "x2"}, models={"detector": "d1"})
    storage.write_bytes(storage.join(storage.run_uri(root, "crops", "died"), "a.parquet"), b"half")
    storage.write_bytes(storage.join(root, "_work", "preprocess", "died", "f.parquet"), b"fragment")


def there(root: str) -> set[str]:
    return {f"{name} {run_id}" for name, of_name in find_runs(root).items() for run_id in of_name}


def config(root: str, **changes: object) -> PruneConfig:
    return PruneConfig(root=root, **{"min_age_h": 0, "work_age_h": 0, "keep": 0, "delete": True, **changes})


def test_what_published_runs_were_made_from_stays(root: str) -> None:
    line(root)
    before = there(root)
    assert len(before) == 10
    told = run(config(root, delete=False))
    assert there(root) == before
    assert set(told.facts["would_delete_runs"]) == {"detector d0", "crops c0", "crops died"}
    done = run(config(root))
    assert before - there(root) == set(done.facts["deleted_runs"]) == set(told.facts["would_delete_runs"])
    assert storage.list_files(storage.join(root, "_work")) == []
    with pytest.raises(NotPublished):
        storage.published(root, "crops", "c0")
    for name, run_id in (("index", "i1"), ("crops", "c1"), ("exams", "x1"), ("exams", "x0"), ("detector", "d1")):
        assert storage.published(root, name, run_id).run_id == run_id
    again = run(config(root))
    assert again.facts["deleted_runs"] == again.facts["deleted_work"] == []


def test_what_a_run_adds_to_stays_for_its_files_alone(root: str) -> None:
    """Segments of an index lie where they were written; the crops behind an earlier run are not needed for that."""
    line(root)
    publish(root, "index", "i2", 7, inputs={"crops": "c2", "index": "i1"})
    publish(root, "index", "i3", 8, inputs={"crops": "c2", "index": "i2"})
    run(config(root))
    assert {r for r in there(root) if r.startswith("index")} == {"index i1", "index i2", "index i3"}
    with pytest.raises(NotPublished):
        storage.published(root, "crops", "c1")
    publish(root, "index", "i4", 9, inputs={"crops": "c2"})
    run(config(root))
    assert {r for r in there(root) if r.startswith("index")} == {"index i4"}


def test_the_latest_others_stay_with_what_they_were_made_from(root: str) -> None:
    line(root)
    kept = needed(root, find_runs(root), keep=1)
    assert ("detector", "d0") in kept
    assert ("crops", "c0") not in kept, "c1 is the latest beside the published one"


def test_the_young_stay(tmp_path: Path) -> None:
    root = str(tmp_path)
    line(root)
    before = there(root)
    assert run(config(root, min_age_h=1, work_age_h=1)).facts["deleted_runs"] == []
    old = time.time() - 2 * DAYS
    for run_id in ("c0", "died"):
        for file in Path(storage.run_uri(root, "crops", run_id)).rglob("*"):
            os.utime(file, (old, old))
    young = Path(storage.run_uri(root, "crops", "died")) / "b.parquet"
    young.write_bytes(b"still writing")
    run(config(root, min_age_h=24, work_age_h=24))
    assert before - there(root) == {"crops c0"}
    assert storage.list_files(str(tmp_path / "_work"))


def test_an_empty_root_has_nothing_to_prune(tmp_path: Path) -> None:
    assert run(config(str(tmp_path))).rows == 0
