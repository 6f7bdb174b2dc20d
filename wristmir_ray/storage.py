"""Published runs on local disk and `s3://`.

    <root>/<name>/runs/<run_id>/...            files of one run; invisible without a manifest
    <root>/<name>/runs/<run_id>/manifest.json  written last: now the run exists
    <root>/<name>/current.json                 the pointer: which run readers get

A *name* is a table or a model. Runs are immutable. The pointer moves atomically: a rename on disk,
a conditional PUT (If-Match / If-None-Match) on S3.
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from wristmir_ray import dicomweb
from wristmir_ray.errors import ConfigError, NotPublished, SchemaError, StoreFailed
from wristmir_ray.schemas import Table

MANIFEST = "manifest.json"
POINTER = "current.json"
_AWS = re.compile(r"AWS Error (\w+)")
"""How Arrow's S3 file system words what the store answered, or that it did not."""
_UMASK = os.umask(0o022)
os.umask(_UMASK)  # it can only be read by setting it: once, before any thread


# ---------------------------------------------------------------- objects


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


# ---------------------------------------------------------------- runs


@dataclass(frozen=True)
class Manifest:
    """What a run is: written once, last."""

    name: str
    run_id: str
    job: str
    rows: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    schema: str = ""
    files: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    code: str = ""
    kind: str = ""
    """Of a table's run: digest of job, settings, models and code; runs of one kind differ in their inputs alone."""
    config: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    seconds: float = 0.0


def run_uri(root: str, name: str, run_id: str) -> str:
    """Return the folder of a run."""
    return join(root, name, "runs", run_id)


def find_run(root: str, name: str, run_id: str) -> Manifest | None:
    """Return the manifest of a finished run, or None where there is none."""
    uri = join(run_uri(root, name, run_id), MANIFEST)
    try:
        return Manifest(**json.loads(read_bytes(uri)))
    except FileNotFoundError:
        return None


def published(root: str, name: str, run_id: str | None = None) -> Manifest:
    """Return the current run of a table or model, or the pinned one.

    Raises:
        NotPublished: there is none; the message names the job to run first.
    """
    if run_id is None:
        try:
            run_id = json.loads(read_bytes(join(root, name, POINTER)))["run_id"]
        except FileNotFoundError:
            raise NotPublished(
                f"nothing is published as '{name}' under {root}; run the job that makes it first"
            ) from None
    manifest = find_run(root, name, str(run_id))
    if manifest is None:
        raise NotPublished(f"run {run_id} of '{name}' under {root} has no manifest: it never finished")
    return manifest


def publish(root: str, manifest: Manifest) -> Manifest:
    """Make a run exist (manifest), then current (pointer). Publishing it again changes nothing else."""
    if not manifest.created:
        manifest = Manifest(**{**asdict(manifest), "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    folder = run_uri(root, manifest.name, manifest.run_id)
    text = json.dumps(asdict(manifest), indent=1, sort_keys=True, default=str)
    write_bytes(join(folder, MANIFEST), text.encode())
    point_to(root, manifest.name, manifest.run_id)
    return manifest


def point_to(root: str, name: str, run_id: str) -> None:
    """Move the pointer to `run_id`; concurrent movers of an S3 pointer retry on the newer one."""
    uri = join(root, name, POINTER)
    data = json.dumps({"run_id": run_id}).encode()
    if not is_s3(uri):
        write_bytes(uri, data)
        return
    client, bucket, key = s3_client(uri)
    for _ in range(8):
        try:
            condition = {"IfMatch": client.head_object(Bucket=bucket, Key=key)["ETag"]}
        except client.exceptions.ClientError:
            condition = {"IfNoneMatch": "*"}
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, **condition)
            return
        except client.exceptions.ClientError as e:
            if e.response["Error"]["Code"] not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
    raise ConfigError(f"pointer {uri} is moved by others without pause; publish '{name}' from one job at a time")


# ---------------------------------------------------------------- tables


def write_parquet(table: pa.Table, uri: str, row_group_size: int) -> None:
    """Write one Parquet file whole or not at all.

    Binary columns hold compressed images: they are stored as they are, without another
    compression, a dictionary or statistics, which would cost time and save no byte.
    """
    leaves = dict(_leaves(table.schema))
    plain = [path for path, kind in leaves.items() if not _is_binary(kind)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_size,
        compression={path: "zstd" if path in plain else "none" for path in leaves},
        compression_level=dict.fromkeys(plain, 1) or None,
        use_dictionary=plain,
        write_statistics=plain,
    )
    write_bytes(uri, sink.getvalue())


def _leaves(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[tuple[str, pa.DataType]]:
    """Yield a schema's Parquet columns: dotted path and type."""
    for leaf in fields:
        path, kind = prefix + leaf.name, leaf.type
        while True:
            if isinstance(kind, pa.BaseExtensionType):
                kind = kind.storage_type
            elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
                path, kind = f"{path}.list.element", kind.value_type
            else:
                break
        if pa.types.is_struct(kind):
            yield from _leaves(kind.fields, f"{path}.")
        else:
            yield path, kind


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def table_files(root: str, manifest: Manifest) -> list[str]:
    """Return the addresses of a published table's Parquet files, in key order."""
    folder = run_uri(root, manifest.name, manifest.run_id)
    return [join(folder, f) for f in manifest.files]


def published_table(root: str, table: Table, run_id: str | None = None) -> Manifest:
    """Return a table's current run, or the pinned one.

    Raises:
        NotPublished: there is none. SchemaError: it was written under another schema.
    """
    manifest = published(root, table.name, run_id)
    if manifest.schema != table.fingerprint:
        raise SchemaError(f"table {table.name} run {manifest.run_id} has another schema; run its job again")
    return manifest


def read_table(
    root: str,
    table: Table,
    run_id: str | None = None,
    columns: Sequence[str] | None = None,
    good_only: bool = True,
    where: pc.Expression | None = None,
) -> pa.Table:
    """Return a published table in key order.

    Args:
        root: folder or s3:// prefix.
        table: its declaration.
        run_id: pinned run; default the current one.
        columns: columns to read; default all.
        good_only: leave rows with an `error` out.
        where: further Arrow filter.

    Raises:
        NotPublished: no such run. SchemaError: it was written under another schema.
    """
    manifest = published_table(root, table, run_id)
    files = table_files(root, manifest)
    if not files:
        return table.schema.empty_table().select(list(columns or table.schema.names))
    condition = pc.field("error").is_null() if good_only else None
    if where is not None:
        condition = where if condition is None else condition & where
    fs, _ = filesystem(root)
    data = pads.dataset([filesystem(f)[1] for f in files], schema=table.schema, filesystem=fs, format="parquet")
    return data.to_table(columns=list(columns) if columns else None, filter=condition)


class KeyedReader:
    """Reads single rows of a published table by key, without a scan.

    A published table is sorted by its first key column and written in small row groups, so that
    the row groups' minima and maxima in the Parquet footers are the locator: a look-up reads one
    row group.
    """

    def __init__(self, root: str, table: Table, run_id: str | None = None) -> None:
        manifest = published(root, table.name, run_id)
        self._table = table
        self._files = table_files(root, manifest)
        self._groups = list(self._footers())

    def _footers(self) -> Iterator[tuple[str, str, int, int]]:
        column = self._table.schema.get_field_index(self._table.key[0])
        for i, uri in enumerate(self._files):
            fs, path = filesystem(uri)
            meta = pq.read_metadata(path, filesystem=fs)
            for g in range(meta.num_row_groups):
                stats = meta.row_group(g).column(column).statistics
                yield stats.min, stats.max, i, g

    def rows(self, key: str) -> list[dict[str, Any]]:
        """Return every row whose first key column equals `key` (empty where there is none)."""
        out: list[dict[str, Any]] = []
        for low, high, i, g in self._groups:
            if low <= key <= high:
                fs, path = filesystem(self._files[i])
                group = pq.ParquetFile(path, filesystem=fs).read_row_group(g)
                out += group.filter(pc.field(self._table.key[0]) == key).to_pylist()
        return out
