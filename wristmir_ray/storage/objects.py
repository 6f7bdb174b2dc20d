"""Objects on local disk and `s3://`: written whole or not at all, with one kind of failure."""

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from wristmir_ray import dicomweb
from wristmir_ray.errors import ConfigError, StoreFailed

_AWS = re.compile(r"AWS Error (\w+)")
"""How Arrow's S3 file system words what the store answered, or that it did not."""
_UMASK = os.umask(0o022)
os.umask(_UMASK)  # it can only be read by setting it: once, before any thread


def is_s3(uri: str) -> bool:
    """Return whether `uri` is an S3 address."""
    return uri.startswith("s3://")


def join(uri: str, *parts: str) -> str:
    """Return `uri` with path parts appended."""
    return "/".join([uri.rstrip("/"), *(p.strip("/") for p in parts)])


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return Arrow's file system for `uri` and the path inside it.

    S3 reads its endpoint and region from `AWS_ENDPOINT_URL` and `AWS_REGION`, as boto3 does.
    """
    if not is_s3(uri):
        return pafs.LocalFileSystem(), _path(uri)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = endpoint.rpartition("://")
    options: dict[str, Any] = {"endpoint_override": host, "scheme": scheme or "https"} if host else {}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return pafs.S3FileSystem(**options, **({"region": region} if region else {})), _path(uri)


def _path(uri: str) -> str:
    return uri.removeprefix("s3://") if is_s3(uri) else os.path.abspath(uri)


def s3_client(uri: str) -> tuple[Any, str, str]:
    """Return a boto3 client, and the bucket and key that `uri` names."""
    import boto3

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return boto3.client("s3"), bucket, key


def read_bytes(uri: str) -> bytes:
    """Return an object's bytes, also those of a DICOMweb instance; FileNotFoundError where there is none."""
    if dicomweb.is_dicomweb(uri):
        return dicomweb.read(uri)
    fs, path = filesystem(uri)
    with fs.open_input_file(path) as f:
        return bytes(f.readall())


def write_bytes(uri: str, data: bytes | pa.Buffer) -> None:
    """Write an object whole or not at all.

    Raises:
        StoreFailed: the disk is full or broken, the store is away or refuses.
    """
    try:
        (_put if is_s3(uri) else _write)(uri, data)
    except Exception as e:
        reason = _reason(e)
        raise StoreFailed(
            f"cannot write {uri} ({reason}); make room or mend the store, then run the job again: it goes on where it "
            "stopped"
        ) from None


def copy_to_file(uri: str, target: Path) -> None:
    """Copy an object on S3 to a file, whole or not at all; it may be larger than memory.

    Raises:
        StoreFailed: the store is away or refuses, the object is gone, the disk is full.
    """
    part = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        client, bucket, key = s3_client(uri)
        client.download_file(bucket, key, str(part))
        os.replace(part, target)
    except Exception as e:
        raise StoreFailed(f"cannot copy {uri} to {target} ({_reason(e)}); make room or mend the store") from None
    finally:
        part.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    """Return why a store failed, in a word or two."""
    answer = getattr(error, "response", {}).get("Error", {})
    return str(getattr(error, "strerror", None) or answer.get("Code") or type(error).__name__)


def failure(error: BaseException) -> StoreFailed | None:
    """Return what a reader's error of a store amounts to, or None for any other error."""
    found = _AWS.search(str(error)) if isinstance(error, OSError) else None
    if found is None:
        return None
    return StoreFailed(f"the store cannot be read ({found[1]}); mend it, then run the job again: it goes on")


def _put(uri: str, data: bytes | pa.Buffer) -> None:
    client, bucket, key = s3_client(uri)
    client.put_object(Bucket=bucket, Key=key, Body=bytes(data))


def _write(uri: str, data: bytes | pa.Buffer) -> None:
    path = Path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
        os.chmod(temporary, 0o666 & ~_UMASK)  # a temporary file is its owner's alone; an archive is shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def exists(uri: str) -> bool:
    """Return whether an object (not a folder) stands at `uri`."""
    fs, path = filesystem(uri)
    return bool(fs.get_file_info(path).type == pafs.FileType.File)


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Return the addresses of all objects below `uri` that end in `suffix`, sorted."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    prefix = "s3://" if is_s3(uri) else ""
    return sorted(
        prefix + f.path
        for f in found
        if f.type == pafs.FileType.File and f.path.endswith(suffix) and not f.base_name.startswith(".")
    )


def stamp(uri: str) -> str:
    """Return what changes with an object: its size and time of change; FileNotFoundError where it is gone."""
    fs, path = filesystem(uri)
    found = fs.get_file_info(path)
    if found.size is None:
        raise FileNotFoundError(f"{path} is gone; run the job that makes it again")
    return f"{found.size} {found.mtime_ns}"


def total_bytes(uris: Sequence[str]) -> int:
    """Return the size of these objects of one place together; FileNotFoundError where one is gone."""
    if not uris:
        return 0
    fs, _ = filesystem(uris[0])
    found = fs.get_file_info([_path(u) for u in uris])
    gone = [f.path for f in found if f.size is None]
    if gone:
        raise FileNotFoundError(f"{gone[0]} is gone; run the job that makes it again")
    return sum(f.size for f in found)


def delete_tree(uri: str) -> None:
    """Remove everything below `uri`; nothing there is no error."""
    if not is_s3(uri):
        shutil.rmtree(uri, ignore_errors=True)
        return
    for file in list_files(uri):
        delete(file)


def delete(uri: str) -> None:
    """Remove one object; nothing there is no error."""
    if is_s3(uri):
        client, bucket, key = s3_client(uri)
        client.delete_object(Bucket=bucket, Key=key)
    else:
        Path(uri).unlink(missing_ok=True)


def check_root(root: str) -> None:
    """Raise ConfigError, before any work, when `root` is a file or a store that does not answer."""
    try:
        fs, path = filesystem(root)
        kind = fs.get_file_info(path).type
    except OSError as e:
        raise ConfigError(
            f"cannot reach root {root} ({_reason(e)}); check its name, AWS_ENDPOINT_URL and keys"
        ) from None
    if kind == pafs.FileType.File:
        raise ConfigError(f"root {root} is a file; give a folder or an s3:// prefix")


def check_writable(root: str) -> None:
    """Raise ConfigError, before any work, when `root` cannot be written."""
    probe = join(root, ".probe")
    try:
        (_put if is_s3(root) else _write)(probe, b"")
        delete(probe)
    except Exception as e:
        raise ConfigError(
            f"cannot write to root {root} ({_reason(e)}); give a writable folder or s3:// prefix"
        ) from None
