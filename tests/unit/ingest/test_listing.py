"""What the archive holds: folders, globs, lists, prefixes of a bucket."""

import os
from pathlib import Path

import pytest

from tests.s3_server import BUCKET, empty_bucket
from wristmir_ray import storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest import listing
from wristmir_ray.ingest.listing import LISTING, Found, list_images

FILES = ("b.png", "a.dcm", "sub/c.png", "sub/deep/d.png", ".hidden", "sub/.cache/e.png")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in FILES:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in empty_bucket(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    for name in FILES:
        storage.write_bytes(f"s3://{BUCKET}/hospital/{name}", name.encode())
    storage.write_bytes(f"s3://{BUCKET}/hospital2/z.png", b"z")
    return f"s3://{BUCKET}/hospital"


def _names(root: str, images: str) -> list[str]:
    return sorted(f.uri.removeprefix(f"{root}/") for f in list_images(images))


def _ids(images: str) -> dict[str, str]:
    tables = list(listing.tables(list_images(images)))
    assert all(t.schema == LISTING for t in tables)
    return {u: i for t in tables for u, i in zip(t["source_uri"].to_pylist(), t["source_id"].to_pylist(), strict=True)}


WHOLE = ["a.dcm", "b.png", "sub/c.png", "sub/deep/d.png"]
PATTERNS = [
    ("*.png", ["b.png"]),
    ("**/*.png", ["b.png", "sub/c.png", "sub/deep/d.png"]),
    ("sub/*/d.p?g", ["sub/deep/d.png"]),
    ("[ab].*", ["a.dcm", "b.png"]),
    ("b.png", ["b.png"]),
]


def test_a_folder_is_searched_below(archive: Path) -> None:
    assert _names(str(archive), str(archive)) == WHOLE
    assert {f.size for f in list_images(f"{archive}/a.dcm")} == {len("a.dcm")}
    assert len(set(_ids(str(archive)).values())) == 4


@pytest.mark.parametrize(("pattern", "names"), PATTERNS)
def test_globs(archive: Path, pattern: str, names: list[str]) -> None:
    assert _names(str(archive), f"{archive}/{pattern}") == names


def test_a_prefix_of_a_bucket_is_searched_as_a_folder_is(bucket: str) -> None:
    for images in (bucket, bucket + "/"):
        assert _names(bucket, images) == WHOLE
    assert _names(bucket, f"{bucket}/sub") == ["sub/c.png", "sub/deep/d.png"]
    for pattern, names in PATTERNS:
        assert _names(bucket, f"{bucket}/{pattern}") == names
    assert len(list(list_images(f"s3://{BUCKET}"))) == 5


def test_an_object_of_a_bucket_is_another_one_when_its_content_is(bucket: str) -> None:
    before = _ids(bucket)
    storage.write_bytes(f"{bucket}/a.dcm", b"a.dcm")
    assert _ids(bucket) == before
    storage.write_bytes(f"{bucket}/a.dcm", b"A.dcm")
    after = _ids(bucket)
    assert {u for u in before if before[u] != after[u]} == {f"{bucket}/a.dcm"}


def test_a_list_of_a_bucket(bucket: str, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text(f"{bucket}/sub/c.png\n{bucket}/gone.png\ndicomweb+http://pacs/studies/1/series/2/instances/3\n")
    found = {f.uri: f.size for f in list_images(f"@{file}")}
    assert found == {
        f"{bucket}/sub/c.png": len("sub/c.png"),
        f"{bucket}/gone.png": -1,
        "dicomweb+http://pacs/studies/1/series/2/instances/3": None,
    }
    assert _ids(f"@{file}")[f"{bucket}/sub/c.png"] == _ids(bucket)[f"{bucket}/sub/c.png"]


@pytest.mark.parametrize("images", ["s3://nobucket/a", f"s3://{BUCKET}/nowhere", f"s3://{BUCKET}/nowhere/*.png"])
def test_no_place_in_a_bucket_is_named(bucket: str, images: str) -> None:
    with pytest.raises(ConfigError, match=r"nobucket|nowhere"):
        list(list_images(images))


def test_a_link_back_is_not_followed(archive: Path) -> None:
    (archive / "sub" / "up").symlink_to(archive, target_is_directory=True)
    (archive / "lost").symlink_to(archive / "gone")
    assert _names(str(archive), str(archive)) == WHOLE


def test_a_list_keeps_what_is_gone(archive: Path) -> None:
    file = archive / "list.txt"
    file.write_text(f"{archive}/sub/c.png\n\n{archive}/gone.png\n{archive}/sub\n")
    found = {f.uri: f.size for f in list_images(f"@{file}")}
    assert found == {f"{archive}/sub/c.png": len("sub/c.png"), f"{archive}/gone.png": -1, f"{archive}/sub": -1}


def test_a_changed_object_is_another_one(archive: Path) -> None:
    before = _ids(str(archive))
    assert before == _ids(str(archive))
    (archive / "b.png").write_bytes(b"changed!")
    os.utime(archive / "a.dcm", (1, 1))
    after = _ids(str(archive))
    assert {u for u in before if before[u] != after[u]} == {f"{archive}/b.png", f"{archive}/a.dcm"}


def test_a_long_list_comes_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_BATCH", 3)
    tables = list(listing.tables(Found(f"/{i}", i, "") for i in range(7)))
    assert [t.num_rows for t in tables] == [3, 3, 1]


@pytest.mark.parametrize("images", ["nowhere", "*.tiff", "empty", "@nowhere.txt", "nowhere/*.png"])
def test_nothing_there_is_named(archive: Path, images: str) -> None:
    (archive / "empty").mkdir()
    at = f"@{archive}/{images[1:]}" if images.startswith("@") else f"{archive}/{images}"
    with pytest.raises(ConfigError, match=r"nowhere|\*\.tiff|empty"):
        list(list_images(at))
