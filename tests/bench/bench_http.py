"""The service over HTTP against FastAPI, uvicorn and FAISS without Ray: 1, 8 and 64 clients on cached vectors.

An archive of 20,000 made-up exams that stores all; queries are exams of it, so that nothing is decoded or encoded.
`ours` is `serve run serve_config.yaml` on a Ray of its own, with the switches that we ship, asked where the Ingress
listens itself; `proxy` the same service, asked through Serve's proxy; `apart` the same with the search in a deployment
of its own; `default` as `proxy`, with Ray's own switches. `peer` is `httppeer`, as many processes as cores, one thread
each. All write an access log and answer with the same hits and the same JSON (this is checked), and one load generator
asks all, in a process of its own, not counted. `apart` and `default` are measured some minutes after the peer.
CPU is user + system time of all processes of a service: for ours of raylet, GCS, dashboard and agents, Serve's
controller and proxy, every replica and `serve run`. What they take while nobody asks is stated as `idle` (cores) and is
in `ratio`, the worst of the three loads; `net_ratio` is without it. Rounds of ours, proxy and peer alternate: the
machine's speed changes within minutes. `overhead`: percentiles over HTTP at one client less those of the bare
`Index.search` in one process.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

from tests.bench.accounts import Service, cpu, since

REPO = Path(__file__).parents[2]
EXAMS = 20_000
LOADS = {1: 400, 8: 1000, 64: 1500}
"""Clients -> requests a round."""
ROUNDS = 5
RAYS_OWN = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "1",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.1",
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "100",
}
"""Ray's defaults of what we set otherwise."""
IDLE_S = 10
ASKED = 500
_FIGURES = ("cpu", "p50", "p99", "per_s")
_SCORES = ("global_score", "region_score")


def measure() -> dict[str, Any]:
    """Return CPU milliseconds a request and latencies of ours, of Ray's default and of the peer."""
    from tests.bench.embedded import crowded
    from tests.bench.httpworld import add_index, make_archive

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = make_archive(folder)
        index = add_index(root, crowded(EXAMS, 0), crowded(EXAMS, 1), "b")
        ids = index.exams["exam_id"].to_pylist()[:: EXAMS // ASKED]
        (folder / "ids").write_text("\n".join(ids))
        bare = _bare(index, ids)
        with _peer(root) as peer:
            with _ours(root, folder, peer) as (door, proxy):
                figures = _figures(folder, {"peer": peer, "ours": door, "proxy": proxy})
                assert _alike(_answers(door.url, ids[:20]), _answers(peer.url, ids[:20])), "not the same answers"
            with _ours(root, folder, peer, apart=True) as (door, _):
                figures |= _figures(folder, {"apart": door})
                assert _alike(_answers(door.url, ids[:20]), _answers(peer.url, ids[:20])), "not the same answers"
            with _ours(root, folder, peer, RAYS_OWN) as (_, proxy):
                figures |= _figures(folder, {"default": proxy})
    return _result(figures, bare)


def _result(figures: Mapping[str, Any], bare: Mapping[str, float]) -> dict[str, Any]:
    ours, peer = figures["ours"], figures["peer"]
    ratios = {n: ours["cpu"][n] / peer["cpu"][n] for n in LOADS}
    rows = {f"{name}, {n} clients": _row(f, n) for name, f in figures.items() for n in LOADS}
    return {
        "ours": round(ours["cpu"][8], 3),
        "peer": round(peer["cpu"][8], 3),
        "ratio": round(max(ratios.values()), 3),
        "ratios": {n: round(r, 3) for n, r in ratios.items()},
        "net_ratio": round(max(ours["net"][n] / peer["net"][n] for n in LOADS), 3),
        "ratio_of": {name: round(max(f["cpu"][n] / peer["cpu"][n] for n in LOADS), 3) for name, f in figures.items()},
        "unit": "CPU-ms a request, 8 clients",
        "idle": {name: round(f["idle"], 3) for name, f in figures.items()},
        "bare_ms": bare,
        "overhead_ms": {name: {p: round(f[p][1] - bare[p], 2) for p in ("p50", "p99")} for name, f in figures.items()},
        "fields": rows,
    }


def _row(figures: Any, clients: int) -> dict[str, float]:
    names = ("cpu", "net", "p50", "p99", "per_s")
    return {name: round(figures[name][clients], 3) for name in names}


def _bare(index: Any, ids: list[str]) -> dict[str, float]:
    """Return percentiles of the search alone, in milliseconds."""
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.query import SearchRequest

    took = []
    for exam in [*ids[:50], *ids]:
        started = time.perf_counter()
        index.search(SearchRequest(Region.DISTAL_ULNA, exam_id=exam))
        took.append(1e3 * (time.perf_counter() - started))
    return _percentiles(took[50:])


def _percentiles(ms: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(ms, p)), 3) for p in (50, 99)}


@contextmanager
def _ours(
    root: str, folder: Path, peer: Service, switches: Mapping[str, str] | None = None, apart: bool = False
) -> Iterator[tuple[Service, Service]]:
    """Serve by the repository's own settings, without a rate limit; yield where Ingress, and where the proxy listens.

    Args:
        root: of the archive.
        folder: for settings and the log.
        peer: what runs beside it.
        switches: of Ray, instead of ours; a part then writes an access log, too, as by default.
        apart: the search in a deployment of its own.
    """
    from tests.integration.local_head import free_ports, local_head, serving, set_apart

    (port,) = free_ports(1)
    settings = yaml.safe_load((REPO / "serve_config.yaml").read_text())
    settings["http_options"]["port"] = port
    (application,) = settings["applications"]
    application["args"] |= {"root": root, "rate_limit": None}
    if switches is not None:
        del application["logging_config"]
    if apart:
        set_apart(application)
    config = folder / "serve_config.yaml"
    config.write_text(yaml.safe_dump(settings))
    with ExitStack() as stack:
        for name, value in (switches or {}).items():
            stack.enter_context(_set(name, value))
        head = stack.enter_context(local_head(REPO))
        proxy = stack.enter_context(serving(config, port, head, folder / "log"))
        sessions = {p.pid for p in psutil.Process().children()} - peer.sessions
        yield Service(head.doors()[0], sessions), Service(proxy, sessions)


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})


@contextmanager
def _peer(root: str) -> Iterator[Service]:
    from tests.integration.local_head import end_session, environment, free_ports, wait_for

    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "tests.bench.httppeer:app", f"--port={port}"]
    command += [f"--workers={os.cpu_count()}"]
    env = {**environment(), "BENCH_ROOT": root, "PYTHONPATH": str(REPO)}
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(command, cwd=REPO, env=env, start_new_session=True, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", running)
            time.sleep(10)  # the other processes load, too
            yield Service(f"http://127.0.0.1:{port}", {running.pid})
        finally:
            end_session(running)


def _figures(folder: Path, services: Mapping[str, Service]) -> dict[str, dict[str, Any]]:
    """Return by service and clients CPU milliseconds a request, latencies, requests a second; and idle cores.

    They are printed, too: a run that is ended loses only what it has not measured.
    """
    found: dict[str, dict[str, Any]] = {s: {f: {} for f in (*_FIGURES, "net")} for s in services}
    for service in services.values():
        _round(service, folder, 8, 400)  # to warm up
    time.sleep(2)
    started, before = time.perf_counter(), {name: cpu(s) for name, s in services.items()}
    time.sleep(IDLE_S)
    for name, service in services.items():
        found[name]["idle"] = since(service, before[name]) / (time.perf_counter() - started)
    for clients, requests in LOADS.items():
        rounds = [{n: _round(s, folder, clients, requests) for n, s in services.items()} for _ in range(ROUNDS)]
        for name, of in found.items():
            for figure in _FIGURES:
                of[figure][clients] = statistics.median(r[name][figure] for r in rounds)
            of["net"][clients] = statistics.median(r[name]["cpu"] - 1e3 * of["idle"] / r[name]["per_s"] for r in rounds)
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def _round(service: Service, folder: Path, clients: int, requests: int) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "tests.bench.httpload",
        service.url,
        str(folder / "ids"),
        str(clients),
        str(requests),
    ]
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPO, env=env, **pipes) as load:  # in our own session: it is not counted
        assert load.stdout
        assert load.stdout.readline() == "ready\n"
        before = cpu(service)
        told = json.loads(load.communicate("go\n")[0])
        taken = since(service, before)
    assert told["statuses"] == {"200": requests}, told["statuses"]
    ms = _percentiles([1e3 * s for s in told["seconds"]])
    return {"cpu": 1e3 * taken / requests, **ms, "per_s": requests / told["wall"]}


def _answers(url: str, ids: list[str]) -> list[Any]:
    files = [{"exam_id": (None, e), "region": (None, "distal_ulna")} for e in ids]
    return [httpx.post(f"{url}/v1/search", files=f).json() for f in files]


def _alike(ours: list[Any], theirs: list[Any]) -> bool:
    """Return whether the answers are the same, but for times, lineage and the last digits of scores."""
    return all(
        _shown(a) == _shown(b) and np.allclose(_scores(a), _scores(b), atol=1e-6)
        for a, b in zip(ours, theirs, strict=True)
    )


def _shown(answer: Mapping[str, Any]) -> dict[str, Any]:
    hits = [{k: v for k, v in hit.items() if k not in _SCORES} for hit in answer["hits"]]
    return {k: v for k, v in answer.items() if k not in {"stage_ms", "lineage", "exactness", "gallery"}} | {
        "hits": hits
    }


def _scores(answer: Mapping[str, Any]) -> list[list[float]]:
    return [[hit[name] for name in _SCORES] for hit in answer["hits"]]
