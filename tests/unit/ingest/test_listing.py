"""What the archive holds: folders, globs, lists."""

from pathlib import Path

import pytest

from wristmir_ray.errors import ConfigError
from wristmir_ray.ingest.listing import LISTING, digest, list_images


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name in ("b.png", "a.dcm", "sub/c.png", "sub/deep/d.png", ".hidden", "sub/.cache/e.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())
    return tmp_path


def _names(archive: Path, images: str) -> list[str]:
    return [str(Path(u).relative_to(archive)) for u in list_images(images)["source_uri"].to_pylist()]


def test_a_folder_is_searched_below_and_sorted(archive: Path) -> None:
    assert _names(archive, str(archive)) == ["a.dcm", "b.png", "sub/c.png", "sub/deep/d.png"]
    listing = list_images(str(archive))
    assert listing.schema == LISTING
    assert listing["size"].to_pylist()[0] == len("a.dcm")
    assert len(set(listing["source_id"].to_pylist())) == 4


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.png", ["b.png"]),
        ("**/*.png", ["b.png", "sub/c.png", "sub/deep/d.png"]),
        ("sub/*/d.p?g", ["sub/deep/d.png"]),
        ("[ab].*", ["a.dcm", "b.png"]),
        ("b.png", ["b.png"]),
    ],
)
def test_globs(archive: Path, pattern: str, names: list[str]) -> None:
    assert _names(archive, f"{archive}/{pattern}") == names


def test_a_list_keeps_what_is_gone(archive: Path) -> None:
    file = archive / "list.txt"
    file.write_text(f"{archive}/sub/c.png\n\n{archive}/gone.png\n{archive}/sub/c.png\n")
    listing = list_images(f"@{file}")
    assert listing["source_uri"].to_pylist() == [f"{archive}/gone.png", f"{archive}/sub/c.png"]
    assert listing["size"].to_pylist()[0] == -1


def test_a_changed_object_is_another_one(archive: Path) -> None:
    before = list_images(str(archive))
    assert digest(before) == digest(list_images(str(archive)))
    (archive / "b.png").write_bytes(b"changed!")
    after = list_images(str(archive))
    assert digest(after) != digest(before)
    changed = set(after["source_id"].to_pylist()) ^ set(before["source_id"].to_pylist())
    assert len(changed) == 2


@pytest.mark.parametrize("images", ["nowhere", "*.tiff", "empty", "@nowhere.txt", "nowhere/*.png"])
def test_nothing_there_is_named(archive: Path, images: str) -> None:
    (archive / "empty").mkdir()
    at = f"@{archive}/{images[1:]}" if images.startswith("@") else f"{archive}/{images}"
    with pytest.raises(ConfigError, match=r"nowhere|\*\.tiff|empty"):
        list_images(at)
