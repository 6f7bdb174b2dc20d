"""What lies in the archive: one row an object, known without reading any."""

import fnmatch
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError

LISTING = pa.schema([("source_id", pa.string()), ("source_uri", pa.string()), ("size", pa.int64())])
"""A row is one object, sorted by address; size -1 where a listed object is not there."""

_WILD = re.compile(r"[*?\[]")


def list_images(images: str) -> pa.Table:
    """Return every object that `images` names.

    Args:
        images: a folder or s3:// prefix (searched below), one file, a glob, or @LIST.

    Returns:
        LISTING, sorted by address, no address twice.

    Raises:
        ConfigError: there is no such place, or nothing in it.
    """
    if images.startswith("@"):
        infos = _named(_lines(images[1:]))
    elif _WILD.search(images):
        infos = _glob(images)
    else:
        infos = _below(images)
    if not infos:
        raise ConfigError(f"no image files at {images}; give --images a folder, glob, file or @LIST that holds some")
    rows = [{"source_id": _source_id(uri, i), "source_uri": uri, "size": _size(i)} for uri, i in sorted(infos.items())]
    return pa.Table.from_pylist(rows, LISTING)


def digest(listing: pa.Table) -> str:
    """Return a hash over all objects: another one, another run."""
    return keys.digest("listing", *listing["source_id"].to_pylist())


def _source_id(uri: str, info: pafs.FileInfo) -> str:
    return keys.source_id(uri, _size(info), str(info.mtime_ns or 0))


def _size(info: pafs.FileInfo) -> int:
    return int(info.size) if info.type == pafs.FileType.File else -1


def _prefix(uri: str) -> str:
    return "s3://" if storage.is_s3(uri) else ""


def _below(uri: str) -> dict[str, pafs.FileInfo]:
    fs, path = storage.filesystem(uri)
    try:
        here = fs.get_file_info(path)
        if here.type == pafs.FileType.File:
            return {_prefix(uri) + path: here}
        if here.type == pafs.FileType.NotFound:
            raise ConfigError(f"archive {uri} does not exist; give --images a folder, glob, file or @LIST")
        found = fs.get_file_info(pafs.FileSelector(path, recursive=True))
    except OSError as e:
        raise ConfigError(f"archive {uri} cannot be listed ({type(e).__name__})") from None
    return {_prefix(uri) + f.path: f for f in found if _is_visible_file(f, path)}


def _is_visible_file(info: pafs.FileInfo, root: str) -> bool:
    parts = info.path[len(root) :].strip("/").split("/")
    return bool(info.type == pafs.FileType.File and not any(p.startswith(".") for p in parts))


def _glob(pattern: str) -> dict[str, pafs.FileInfo]:
    """Return the files below the last folder without a wildcard that match; * stays within a folder, ** does not."""
    fixed = pattern[: _WILD.search(pattern).start()]  # type: ignore[union-attr]
    folder = fixed.rpartition("/")[0] or ("/" if fixed.startswith("/") else ".")
    rest = pattern[len(fixed.rpartition("/")[0]) :].lstrip("/")
    expression = re.compile(_expression(rest))
    infos = _below(folder)
    fs_root = _prefix(folder) + storage.filesystem(folder)[1]
    return {uri: i for uri, i in infos.items() if expression.fullmatch(uri[len(fs_root) :].lstrip("/"))}


def _expression(pattern: str) -> str:
    """Return a glob as a regular expression."""
    out = []
    for part in pattern.split("/"):
        if part == "**":
            out.append("(?:[^/]+/)*")
        else:
            simple = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
            out.append(simple.replace(".*", "[^/]*") + "/")
    return "".join(out).removesuffix("/")


def _lines(path: str) -> list[str]:
    try:
        text = storage.read_bytes(path).decode()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"list of images {path} cannot be read ({type(e).__name__})") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def _named(uris: Sequence[str]) -> dict[str, pafs.FileInfo]:
    out = {}
    for uri in uris:
        fs, path = storage.filesystem(uri)
        out[_prefix(uri) + path] = fs.get_file_info(path)
    return out
