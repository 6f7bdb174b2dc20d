"""Local copies of an index on a real S3 server: whole, used again, and gone once nobody opens them any more."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from tests.s3_server import BUCKET, empty_bucket
from tests.unit.retrieval.made_up import publish
from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ConfigError, StoreFailed
from wristmir_ray.retrieval import local
from wristmir_ray.retrieval.config import IndexConfig
from wristmir_ray.retrieval.index import Index, SearchRequest


@pytest.fixture
def root(tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return f"s3://{BUCKET}/archive"


def copies(folder: Path) -> list[Path]:
    return sorted((folder / f"wristmir-index-{os.getuid()}").iterdir())


def test_a_copy_holds_what_the_bucket_holds_and_nothing_else(tmp_path: Path, root: str) -> None:
    publish(root, np.arange(40), IndexConfig())
    run = Index.load(root).run
    (copy,) = copies(tmp_path)
    assert copy.parent.stat().st_mode & 0o077 == 0
    assert {f.name for f in copy.iterdir()} == set(run.files)
    for name in run.files:
        assert (copy / name).read_bytes() == storage.read_bytes(
            storage.join(storage.run_uri(root, "index", run.run_id), name)
        )
    before = {f: f.stat().st_mtime_ns for f in copy.iterdir()}
    Index.load(root)
    assert {f: f.stat().st_mtime_ns for f in copy.iterdir()} == before, "it is used again"


def test_a_copy_that_nobody_opens_goes_and_who_has_it_open_keeps_it(tmp_path: Path, root: str) -> None:
    publish(root, np.arange(40), IndexConfig())
    opened = Index.load(root)
    request = SearchRequest(Region.DISTAL_ULNA, exam_id=f"{3:032x}", pool=20)
    wanted = [(h.exam_id, h.region_score) for h in opened.search(request).hits]
    (first,) = copies(tmp_path)
    publish(root, np.arange(50), IndexConfig(), "i2")
    Index.load(root)
    assert len(copies(tmp_path)) == 2, "opened lately"
    ago = time.time() - local.KEPT_S - 60
    os.utime(first, (ago, ago))
    Index.load(root)
    (left,) = copies(tmp_path)
    assert left != first
    assert [(h.exam_id, h.region_score) for h in opened.search(request).hits] == wanted


def test_a_copy_that_fails_leaves_no_file_and_names_its_place(
    tmp_path: Path, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(root, np.arange(40), IndexConfig())
    shutil.rmtree(copies(tmp_path)[0])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "replace", full)
        with pytest.raises(StoreFailed, match=rf"cannot copy {root}.* to {tmp_path}.*No space"):
            Index.load(root)
    (copy,) = copies(tmp_path)
    assert not list(copy.iterdir())
    assert len(Index.load(root)) == 40


def test_an_object_that_is_gone_is_told(tmp_path: Path, root: str) -> None:
    run = publish(root, np.arange(40), IndexConfig()).run
    shutil.rmtree(copies(tmp_path)[0])
    name = next(n for n in run.files if n.endswith(".npy"))
    storage.delete(storage.join(storage.run_uri(root, "index", run.run_id), name))
    with pytest.raises(StoreFailed, match=rf"{name}.*404"):
        Index.load(root)


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path, root: str) -> None:
    publish(root, np.arange(40), IndexConfig())
    copies(tmp_path)[0].parent.chmod(0o755)
    with pytest.raises(ConfigError, match="open to other users"):
        Index.load(root)
