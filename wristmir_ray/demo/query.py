"""One query over HTTP, against the service as `make serve` starts it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.compute as pc
import yaml

from wristmir_ray import raydata, storage
from wristmir_ray.anatomy import Presence, Region, Split
from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.errors import WristmirError
from wristmir_ray.schemas import CAPTIONS, EXAMS
from wristmir_ray.serving.client import Client

REGION = Region.ULNAR_STYLOID
START_S = 180


def ask(config: DemoConfig, serve_config: Path) -> dict[str, Any]:
    """Start the service, upload a held-out radiograph, and return what came back.

    Args:
        config: whose archive is served.
        serve_config: the project's `serve_config.yaml`; its root is replaced.

    Raises:
        WristmirError: the service did not start, or gave fewer hits than asked for.
    """
    exam_id, uri = _held_out(config.archive)
    raydata.disconnect()  # the service brings a Ray of its own, as for a user who types `serve run`
    with _running(config, serve_config) as url, Client(url) as client:
        answer = client.search(image=storage.read_bytes(uri), region=REGION)
        by_id = client.search(exam_id=exam_id, region=REGION)
    if len(answer.hits) != 10 or len(by_id.hits) != 10:
        raise WristmirError(f"the service gave {len(answer.hits)} and {len(by_id.hits)} hits instead of ten")
    return {
        "query": exam_id,
        "region": REGION.value,
        "hits": len(answer.hits),
        "exactness": answer.exactness,
        "first_hit_is_the_exam_itself": answer.hits[0].exam_id == exam_id,
        "hits_by_exam_id": [h.exam_id for h in by_id.hits],
        "stage_ms": dict(answer.stage_ms),
    }


def _held_out(root: str) -> tuple[str, str]:
    """Return id and address of the first held-out exam with a fracture of the region."""
    labelled = storage.read_table(root, CAPTIONS, columns=["exam_id", "region", "presence", "split"])
    wanted = (
        (pc.field("region") == REGION.value)
        & (pc.field("presence") == Presence.PRESENT.value)
        & (pc.field("split") == Split.TEST.value)
    )
    exam_id = labelled.filter(wanted)["exam_id"][0].as_py()
    exam = storage.read_table(root, EXAMS, where=pc.field("exam_id") == exam_id).to_pylist()[0]
    return exam_id, exam["source_uri"]


@contextmanager
def _running(config: DemoConfig, serve_config: Path) -> Iterator[str]:
    """Run `serve run` with this archive on a free port while the block runs; yields the address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    settings = yaml.safe_load(serve_config.read_text())
    settings["http_options"] |= {"host": "127.0.0.1", "port": port}
    settings["applications"][0]["args"]["root"] = os.path.abspath(config.archive)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "serve.yaml"
        path.write_text(yaml.safe_dump(settings))
        log = Path(folder) / "serve.log"
        serve = str(Path(sys.executable).parent / "serve")
        with log.open("w") as out:
            process = subprocess.Popen([serve, "run", str(path)], stdout=out, stderr=out, start_new_session=True)
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    last = log.read_text().strip().splitlines()[-1:]
    raise WristmirError(f"the service did not start: {' '.join(last)[:300]}")
