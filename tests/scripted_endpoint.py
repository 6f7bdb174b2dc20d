"""A server of the OpenAI protocol whose answers are scripted: a real socket, real HTTP, no model.

What it answers follows from a word in the report: [length] stops at the limit, [loop] writes blank
lines, [prose] is no JSON, [enum] a wrong value, [mend] a wrong value until it is told what to mend,
[busy] 429 twice, [down] 500 always, [bad] 400, [slow] never in time, [lie] quotes that do not stand in
the report, [kill] breaks off, and with it every request that is being answered, [die] ends the endpoint
as a vLLM server ends whose engine died: 500 to all it was answering, then nobody listens, until a
supervisor starts it again. Any other report gets a valid answer: a buckle fracture of the distal radius.
"""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wristmir_ray.mining.findings import EXAM_FIELDS

REPORT = "Left wrist. FINDINGS: Buckle fracture of the distal radius, case {n}. {word}"


def report(n: int, word: str = "") -> str:
    return REPORT.format(n=n, word=f"[{word}]" if word else "")


def said(value: object, quote: str) -> dict[str, object]:
    return {"value": value, "quote": quote}


def answer(**changes: Any) -> dict[str, Any]:
    """A valid answer, its finding's fields changed."""
    silent = ("side", "displacement", "angulation_direction", "angulation_deg", "alignment", "healing")
    finding = {
        "region": said("distal_radius", "distal radius"),
        "presence": said("present", "Buckle fracture"),
        "fracture_type": said("buckle", "Buckle"),
        "physis_involved": None,
        **dict.fromkeys(silent),
        **changes,
    }
    exam = dict.fromkeys(EXAM_FIELDS) | {"side": said("left", "Left"), "views": [], "other": []}
    return {"reasoning": "A buckle fracture is stated.", **exam, "findings": [finding]}


_TEXTS = {
    "length": ('{"reasoning": "and so on', "length"),
    "loop": ("{" + "\n" * 500, "length"),
    "prose": ("The radius is broken.", "stop"),
    "enum": (json.dumps(answer(presence=said("maybe", "Buckle fracture"))), "stop"),
    "lie": (json.dumps(answer(healing=said("healing", "abundant callus"))), "stop"),
}


class Script:
    """Counts what was asked, and answers."""

    def __init__(self, slow_s: float, pace_s: float) -> None:
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self.slow_s, self.pace_s = slow_s, pace_s
        self.deaths = 0
        self.ending = threading.Event()
        """The server says its last words."""
        self._lock = threading.Lock()

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Return status and body for one request; None where the endpoint died meanwhile without a word."""
        deaths = self.deaths
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answered = self._reply(body["messages"][-1]["content"])
            if self.ending.is_set():
                return 500, {}
            return answered if self.deaths == deaths else None
        finally:
            with self._lock:
                self.at_once -= 1

    def _reply(self, text: str) -> tuple[int, dict[str, Any]]:
        word = text.split("[")[1].split("]")[0] if "[" in text else ""
        with self._lock:
            self.asked[text] += 1
        time.sleep(self.slow_s if word == "slow" else self.pace_s)
        if word == "busy" and self.asked[text] <= 2:
            return 429, {}
        if word in {"kill", "die"}:
            self.deaths += 1
        if word == "die":
            self.ending.set()
        if word in {"down", "bad"}:
            return {"down": 500, "bad": 400}[word], {}
        written, reason = _TEXTS.get(word, (json.dumps(answer()), "stop"))
        if word == "mend" and "Mend this" not in text:
            written, reason = _TEXTS["enum"]
        message = {"role": "assistant", "content": written}
        usage = {"prompt_tokens": 100, "completion_tokens": 50}
        return 200, {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


class _Server(ThreadingHTTPServer):
    """One life of the endpoint, on a port that the next life takes over."""

    daemon_threads = True

    def __init__(self, port: int, script: Script) -> None:
        self.script = script
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def end(self) -> None:
        """Listen no more, and close what is open."""
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, {"data": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.script.reply(body)
        if reply is None:
            self.close_connection = True  # no byte of an answer
        else:
            self._send(*reply)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            return  # the client did not wait: that is what a slow answer is for


@contextmanager
def scripted_endpoint(
    slow_s: float = 5.0, pace_s: float = 0.02, port: int = 0, restart_s: float = 2.0
) -> Iterator[tuple[str, Script]]:
    """Serve on a free port, or the given one; yield the base address and the script.

    Args:
        slow_s: how long a slow answer takes.
        pace_s: how long any other takes.
        port: 0 for a free one.
        restart_s: how long nobody listens after [die].
    """
    script, stop = Script(slow_s, pace_s), threading.Event()
    server = _Server(port, script)

    def supervise() -> None:
        nonlocal server
        while not stop.is_set():
            if not script.ending.wait(0.05):
                continue
            time.sleep(pace_s + 0.1)  # all that is being answered gets its 500
            server.end()
            script.ending.clear()
            if not stop.wait(restart_s):
                server = _Server(server.server_port, script)

    supervisor = threading.Thread(target=supervise, daemon=True)
    supervisor.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/", script
    finally:
        stop.set()
        supervisor.join()
        server.end()
