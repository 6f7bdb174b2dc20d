"""What lies in the archive: one row an object, known without reading any.

Objects come as they are found, a batch at a time: an archive's list may be longer than memory.
"""

import fnmatch
import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from wristmir_ray import dicomweb, keys, storage
from wristmir_ray.errors import ConfigError

LISTING = pa.schema([("source_id", pa.string()), ("source_uri", pa.string()), ("size", pa.int64())])
"""A row is one object; size -1 where a listed object is not there, null where only reading tells."""

_WILD = re.compile(r"[*?\[]")
_BATCH = 4096
_STATS = 16
"""Objects of a list that are looked up at a time."""


@dataclass(frozen=True, slots=True)
class Found:
    """An object: `stamp` changes when its content does (an ETag, a time of change)."""

    uri: str
    size: int | None
    stamp: str


def list_images(images: str) -> Iterator[Found]:
    """Yield every object that `images` names, in no particular order; @LIST may name one twice.

    Args:
        images: a folder or s3:// prefix (searched below), one file, a glob, or @LIST.

    Raises:
        ConfigError: there is no such place, or nothing in it.
    """
    if images.startswith("@"):
        found = _named(_lines(images[1:]))
    elif _WILD.search(images):
        found = _glob(images)
    else:
        found = _below(images)
    return _some(found, images)


def _some(found: Iterator[Found], images: str) -> Iterator[Found]:
    first = next(found, None)
    if first is None:
        raise ConfigError(f"no image files at {images}; give --images a folder, glob, file or @LIST that holds some")
    yield first
    yield from found


def tables(found: Iterable[Found]) -> Iterator[pa.Table]:
    """Yield LISTING, a batch at a time."""
    left = iter(found)
    while batch := list(islice(left, _BATCH)):
        ids = [keys.source_id(f.uri, -1 if f.size is None else f.size, f.stamp) for f in batch]
        yield pa.table([ids, [f.uri for f in batch], [f.size for f in batch]], schema=LISTING)


def _below(uri: str) -> Iterator[Found]:
    return _s3_below(uri) if storage.is_s3(uri) else _files_below(os.path.abspath(uri))


def _no_place(uri: str) -> ConfigError:
    return ConfigError(f"archive {uri} does not exist; give --images a folder, glob, file or @LIST")


# ---------------------------------------------------------------- files


def _files_below(path: str) -> Iterator[Found]:
    if not os.path.exists(path):
        raise _no_place(path)
    if not os.path.isdir(path):
        yield _file(path, os.stat(path))
        return
    try:
        yield from _walk(path, set())
    except OSError as e:
        raise ConfigError(f"archive {path} cannot be listed ({type(e).__name__})") from None


def _walk(folder: str, above: set[tuple[int, int]]) -> Iterator[Found]:
    """Yield the files below a folder; a link back to one of the folders `above` is not followed."""
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        return
    inside = above | {(here.st_dev, here.st_ino)}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, inside)
            elif entry.is_file():
                yield _file(entry.path, entry.stat())


def _file(path: str, info: os.stat_result) -> Found:
    return Found(path, info.st_size, str(info.st_mtime_ns))


# ---------------------------------------------------------------- S3


def _s3_below(uri: str) -> Iterator[Found]:
    client, bucket, key = storage.s3_client(uri)
    folder = key.rstrip("/") + "/" if key.rstrip("/") else ""
    whole = _s3_object(client, bucket, key) if folder and not key.endswith("/") else None
    if whole is not None:
        yield whole
        return
    count = 0
    for found in _s3_prefix(client, bucket, folder, uri):
        count += 1
        if not any(part.startswith(".") for part in found.uri.removeprefix(f"s3://{bucket}/{folder}").split("/")):
            yield found
    if not count:
        raise _no_place(uri)


def _s3_prefix(client: Any, bucket: str, prefix: str, uri: str) -> Iterator[Found]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # what some tools leave for an empty folder
                    yield Found(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["ETag"])
    except (BotoCoreError, ClientError) as e:
        code = e.response["Error"]["Code"] if isinstance(e, ClientError) else type(e).__name__
        raise ConfigError(f"archive {uri} cannot be listed ({code}); check its name, AWS_ENDPOINT_URL, keys") from None


def _s3_object(client: Any, bucket: str, key: str) -> Found | None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError):
        return None
    return Found(f"s3://{bucket}/{key}", head["ContentLength"], head["ETag"])


# ---------------------------------------------------------------- globs and lists


def _glob(pattern: str) -> Iterator[Found]:
    """Yield the files below the last folder without a wildcard that match; * stays within a folder, ** does not."""
    fixed = pattern[: _WILD.search(pattern).start()]  # type: ignore[union-attr]
    folder = fixed.rpartition("/")[0] or ("/" if fixed.startswith("/") else ".")
    rest = pattern[len(fixed.rpartition("/")[0]) :].lstrip("/")
    expression = re.compile(_expression(rest))
    root = folder.rstrip("/") if storage.is_s3(folder) else os.path.abspath(folder)
    for found in _below(folder):
        if expression.fullmatch(found.uri[len(root) :].lstrip("/")):
            yield found


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


def _lines(path: str) -> Iterator[str]:
    try:
        fs, inside = storage.filesystem(path)
        with io.TextIOWrapper(fs.open_input_file(inside), encoding="utf8") as file:
            yield from (text for line in file if (text := line.strip()))
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"list of images {path} cannot be read ({type(e).__name__})") from None


def _named(uris: Iterator[str]) -> Iterator[Found]:
    look_up = _looker()
    with ThreadPoolExecutor(_STATS) as pool:
        while batch := list(islice(uris, _BATCH)):
            yield from pool.map(look_up, batch)


def _looker() -> Callable[[str], Found]:
    """Return what finds one named object; size -1 where it is not there."""
    clients: dict[str, Any] = {}

    def look_up(uri: str) -> Found:
        if dicomweb.is_dicomweb(uri):
            return Found(uri, None, "")
        if storage.is_s3(uri):
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            if bucket not in clients:
                clients[bucket] = storage.s3_client(uri)[0]  # thread-safe, and dear to make
            return _s3_object(clients[bucket], bucket, key) or Found(uri, -1, "")
        path = os.path.abspath(uri)
        try:
            return _file(path, os.stat(path)) if not os.path.isdir(path) else Found(path, -1, "")
        except OSError:
            return Found(path, -1, "")

    return look_up
