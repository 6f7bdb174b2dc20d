"""A Ray head on this machine with its job server, as an operator would start it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


def environment() -> dict[str, str]:
    """Return an environment in which `ray`, `serve` and `python` are this interpreter's, without a token."""
    inherited = {k: v for k, v in os.environ.items() if k not in {"RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR"}}
    programs = str(Path(sys.executable).parent)
    return {
        **inherited,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
        **{name: os.environ.get(name, value) for name, value in serve_switches().items()},
    }


def serve_switches() -> dict[str, str]:
    """Return what `make serve` and cluster.yaml start Ray with."""
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    (line,) = re.findall(r"^SERVE_ENV := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in line.replace("\\\n", " ").split())


def free_ports(count: int) -> list[int]:
    """Return ports nobody listens on, from the system's own range (above Ray's worker ports)."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True)
class Head:
    """Where a head answers."""

    gcs: str
    """For RAY_ADDRESS."""
    dashboard: str
    """For `ray job submit --address` and `serve deploy --address`."""
    session: int
    """Id of the session in which all of its processes are."""

    def deploy(self, config: Path) -> None:
        """`serve deploy`, as an operator changes settings."""
        command = ["serve", "deploy", "--address", self.dashboard, str(config)]
        subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=120)

    def doors(self) -> list[str]:
        """Return where each replica of the ingress listens itself, beside Serve's proxy, on this machine."""
        with urllib.request.urlopen(f"{self.dashboard}/api/serve/applications/", timeout=30) as answer:
            groups = json.load(answer)["target_groups"]
        targets = [t for g in groups if g["protocol"] == "HTTP" for t in g["targets"]]
        return [
            f"http://127.0.0.1:{t['port']}" for t in targets
        ]  # the address told is the node's: nobody listens there


@contextmanager
def local_head(cwd: Path, before: Sequence[str] = ()) -> Iterator[Head]:
    """Start a head whose processes run in `cwd`, yield its addresses, end what it started.

    Args:
        cwd: where its processes run.
        before: a command that runs `ray` as its last arguments.
    """
    gcs, dashboard, client, agent = free_ports(4)
    with tempfile.TemporaryDirectory(prefix="wm", dir="/tmp", ignore_cleanup_errors=True) as short:
        command = [
            *before,
            "ray",
            "start",
            "--head",
            "--block",
            "--num-cpus=4",
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=200000000",
        ]
        command += [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
        # The agent takes submitted jobs; on its fixed default port it would fail beside another Ray.
        command += ["--include-dashboard=true", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={short}"]
        head = _started(command, cwd)
        try:
            found = Head(f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}", head.pid)
            wait_for(f"{found.dashboard}/api/version", head)
            yield found
        finally:
            end_session(head)


def _started(command: Sequence[str], cwd: Path) -> "subprocess.Popen[bytes]":
    """Start a process that leads a session, and says nothing."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment(), cwd=cwd, start_new_session=True, stdout=quiet, stderr=quiet)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Return once a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@dataclass(frozen=True)
class Node:
    """A node beside the head."""

    process: "subprocess.Popen[bytes]"
    """Leads the session of all of its processes."""

    def end(self) -> None:
        """Kill what is left of it."""
        end_session(self.process)


def local_node(cwd: Path, head: Head) -> Node:
    """Start one more node on this machine."""
    command = ["ray", "start", f"--address={head.gcs}", "--block", "--num-cpus=4", "--node-ip-address=127.0.0.1"]
    (agent,) = free_ports(1)  # on its fixed default port it would fail beside another Ray
    command += ["--object-store-memory=200000000", f"--dashboard-agent-listen-port={agent}"]
    return Node(_started(command, cwd))


def set_apart(application: dict[str, Any]) -> None:
    """Have an application of serve_config.yaml search in a deployment of its own."""
    (ingress,) = [d for d in application["deployments"] if d["name"] == "Ingress"]
    bounds = {"max_ongoing_requests": 64, "max_queued_requests": 128}
    search = {"name": "Search", **bounds, "ray_actor_options": {"num_cpus": 0.2}}
    application["deployments"].append({**search, "user_config": ingress.pop("user_config")})
    application["args"]["search_apart"] = True


@contextmanager
def serving(config: Path, port: int, head: Head, log: Path) -> Iterator[str]:
    """Run `serve run` on a head in the repository, yield the service's address once it is ready, and end it."""
    repository = Path(__file__).parents[2]
    with log.open("a") as lines:
        running = subprocess.Popen(
            ["serve", "run", str(config)],
            env={**environment(), "RAY_ADDRESS": head.gcs},
            cwd=repository,
            start_new_session=True,
            stdout=lines,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz", running)
            yield f"http://127.0.0.1:{port}"
        finally:
            end_session(running)


def wait_for(url: str, process: "subprocess.Popen[bytes]", seconds: float = 240.0) -> None:
    """Return once `url` answers 200; raise when the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        if process.poll() is not None:
            raise RuntimeError(f"the process ended with {process.returncode} before {url} answered")
        time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer")


def end_session(leader: "subprocess.Popen[bytes]") -> None:
    """Kill every process of the leader's session: Ray's daemons leave the process group but not the session."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getsid(process.pid) == leader.pid:
                process.send_signal(signal.SIGKILL)
    leader.wait(30)
