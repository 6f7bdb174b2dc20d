"""Runs: a table's or a model's files, then its manifest, then the pointer that readers follow.

    <root>/<name>/runs/<run_id>/...            files of one run; invisible without a manifest
    <root>/<name>/runs/<run_id>/manifest.json  written last: now the run exists
    <root>/<name>/current.json                 the pointer: which run readers get

A *name* is a table or a model. Runs are immutable. The pointer moves atomically: a rename on disk,
a conditional PUT (If-Match / If-None-Match) on S3.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.storage.objects import is_s3, join, read_bytes, s3_client, write_bytes

MANIFEST = "manifest.json"
POINTER = "current.json"


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
