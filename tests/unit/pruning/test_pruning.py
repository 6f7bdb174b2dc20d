"""What is published stays, with all it was made from; the rest goes only when asked, and old enough."""

import os
import time
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import held, storage
from wristmir_ray.errors import NotPublished
from wristmir_ray.pruning.config import PruneConfig
from wristmir_ray.pruning.pipeline import CACHE, find_runs, needed, run

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


def _training(root: str) -> str:
    """A root on which a training reads crops c0, captions k0 and their decoded pixels; return its own work folder."""
    line(root)
    publish(root, "captions", "k0", 1)
    publish(root, "captions", "k1", 2)
    for place in ("pixels/c0-252px-abc/p.arrow", "pixels/c1-252px-abc/p.arrow", "train_clip/r1/epoch_000/state.pt"):
        storage.write_bytes(storage.join(root, "_work", *place.split("/")), b"bytes")
    return "train_clip/r1"


def _work(root: str) -> set[str]:
    below = storage.join(root, "_work", "")
    return {"/".join(uri.removeprefix(below).split("/")[:2]) for uri in storage.list_files(storage.join(root, "_work"))}


def test_what_a_job_holds_that_runs_stays_whatever_its_age(root: str) -> None:
    """The pixels of a training, its checkpoints, and the runs that its ranks read again when they are restarted."""
    own = _training(root)
    with held.held(root, "r1", {"crops": "c0", "captions": "k0"}, [own, "pixels/c0-252px-abc"]):
        told = run(config(root))
        assert told.facts["in_use_by"] == 1
        assert _work(root) == {own, "pixels/c0-252px-abc", "held/r1.json"}
        assert {"crops c0", "captions k0", "exams x0"} <= there(root)
        assert storage.published(root, "captions", "k0").run_id == "k0"
    assert not storage.list_files(storage.join(root, "_work", "held"))
    run(config(root))
    assert _work(root) == set()
    assert not {"crops c0", "captions k0"} & there(root)


def test_a_job_that_was_killed_holds_nothing(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its note is as old as the last time that it was written anew."""
    own = _training(root)
    note = storage.join(root, held.FOLDER, "r1.json")
    with held.held(root, "r1", {"crops": "c0"}, [own]):
        left = storage.read_bytes(note)
    storage.write_bytes(note, left)
    run(config(root))
    assert own in _work(root)
    monkeypatch.setattr(held, "DEAD_H", 0.0)
    assert run(config(root)).facts["in_use_by"] == 0
    assert _work(root) == set(), "the note is gone, too"
    assert "crops c0" not in there(root)


def test_a_job_that_runs_long_writes_its_note_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "BEAT_S", 0.02)
    note = tmp_path / held.FOLDER / "r1.json"
    with held.held(str(tmp_path), "r1", {}, []):
        os.utime(note, (0, 0))
        for _ in range(500):
            if note.stat().st_mtime > 0:
                break
            time.sleep(0.02)
        assert note.stat().st_mtime > 0
        with pytest.raises(KeyError), held.held(str(tmp_path), "r2", {}, []):
            raise KeyError
        assert [p.name for p in note.parent.iterdir()] == ["r1.json"]
    assert not note.exists()


def test_bones_that_no_service_asks_for_any_more_go_by_age(root: str) -> None:
    line(root)
    for making in ("then", "now"):
        storage.write_bytes(storage.join(root, CACHE, making, "a.parquet"), b"x" * 1000)
    kept = run(config(root, cache_age_h=1))
    assert kept.facts["deleted_cache"] == []
    assert run(config(root, delete=False, cache_age_h=0)).facts["would_delete_cache"] == ["now", "then"]
    assert run(config(root, cache_age_h=0)).facts["deleted_cache"] == ["now", "then"]
    assert storage.list_files(storage.join(root, CACHE), ".parquet") == []
