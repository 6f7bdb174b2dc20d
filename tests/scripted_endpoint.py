"""A server of the OpenAI protocol whose answers are scripted: a real socket, real HTTP, no model.

What it answers follows from a word in the report: [length] stops at the limit, [loop] writes blank
lines, [prose] is no JSON, [enum] a wrong value, [mend] a wrong value until it is told what to mend,
[busy] 429 twice, [down] 500 always, [502] and [503] that status always, [bad] 400, [slow] never in time,
[lie] quotes that do not stand in the report, [kill] breaks off, and with it every request that is being
answered, [die] ends the endpoint as a vLLM server ends whose engine died: 500 to all it was answering,
then nobody listens, until a supervisor starts it again. [fall] does so behind a gateway: 502 to all that
was being answered, then 503 to everybody, until it is there again. [half], [parts], [details], [many],
[page] answer oddly (`_ODD`). Any other report gets a valid answer: a buckle fracture of the distal radius.
"""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wristmir_ray.mining.engines.http import HARMLESS
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


_ODD: dict[str, Any] = {
    "half": {"content": json.dumps(answer())[:-1] + "\ud83d}"},
    "parts": {"content": [{"type": "text", "text": json.dumps(answer())}]},
    "details": {"prompt_tokens_details": ["cached", 7]},
    "many": {"prompt_tokens": 2**40, "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": "3"}},
    "page": None,
}
"""What stands in the place of an answer's content or usage; half a surrogate pair, a page that is no JSON."""
_STATUS = {"down": 500, "bad": 400, "502": 502, "503": 503}


class Script:
    """Counts what was asked, and answers.

    Args:
        slow_s, pace_s, restart_s: see `scripted_endpoint`.
        models: see `scripted_endpoint`.
    """

    def __init__(self, slow_s: float, pace_s: float, restart_s: float, models: Sequence[str]) -> None:
        self.asked: Counter[str] = Counter()
        """By the text that was sent."""
        self.harmless: Counter[int] = Counter()
        """By status, how the client's own harmless report was answered."""
        self.refuses: int | None = None
        """Status of every answer."""
        self.at_once = self.most_at_once = 0
        self.slow_s, self.pace_s, self.restart_s = slow_s, pace_s, restart_s
        self.models = models
        self.deaths = 0
        self._back_at = 0.0
        self.ending = threading.Event()
        """The server says its last words."""
        self._lock = threading.Lock()

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        """Return status and body for one request; None where the endpoint died meanwhile without a word."""
        deaths, text = self.deaths, body["messages"][-1]["content"]
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            answered = self._reply(text, body["model"])
            if self.ending.is_set():
                answered = 500, {}
            elif self.deaths != deaths:
                answered = (502, {}) if self._back_at else None
            if HARMLESS in text:
                self.harmless[answered[0] if answered else 0] += 1
            return answered
        finally:
            with self._lock:
                self.at_once -= 1

    def _reply(self, text: str, model: str) -> tuple[int, dict[str, Any]] | None:
        word = text.split("[")[1].split("]")[0] if "[" in text else ""
        if HARMLESS not in text:
            with self._lock:
                self.asked[text] += 1
        if self.is_down():
            return 503, {}
        time.sleep(self.slow_s if word == "slow" else self.pace_s)
        if word == "busy" and self.asked[text] <= 2:
            return 429, {}
        if word in {"kill", "die", "fall"}:
            self.deaths += 1
        if word == "die":
            self.ending.set()
        if word == "fall":
            self._back_at = time.monotonic() + self.restart_s
        status = 404 if self.models and model not in self.models else self.refuses or _STATUS.get(word, 200)
        return status, _answered(word, "Mend this" in text) if status == 200 else {}

    def is_down(self) -> bool:
        """Return whether the gateway has nobody to ask."""
        return time.monotonic() < self._back_at


def _answered(word: str, is_mended: bool) -> dict[str, Any]:
    written, reason = _TEXTS.get(word, (json.dumps(answer()), "stop"))
    if word == "mend" and not is_mended:
        written, reason = _TEXTS["enum"]
    odd = _ODD.get(word, {})
    if odd is None:
        return {}
    message = {"role": "assistant", "content": odd.get("content", written)}
    usage = {"prompt_tokens": 100, "completion_tokens": 50, **odd}
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


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
        script = self.server.script
        self._send(503 if script.is_down() else 200, {"data": [{"id": m} for m in script.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.script.reply(body)
        if reply is None:
            self.close_connection = True  # no byte of an answer
        else:
            self._send(*reply)

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode() if body or status != 200 else b"<html>welcome</html>"
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            if status in {502, 503}:
                self.send_header("retry-after", "0")
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            return  # the client did not wait: that is what a slow answer is for


@contextmanager
def scripted_endpoint(
    slow_s: float = 5.0, pace_s: float = 0.02, port: int = 0, restart_s: float = 2.0, models: Sequence[str] = ()
) -> Iterator[tuple[str, Script]]:
    """Serve on a free port, or the given one; yield the base address and the script.

    Args:
        slow_s: how long a slow answer takes.
        pace_s: how long any other takes.
        port: 0 for a free one.
        restart_s: how long nobody listens after [die], or the gateway says 503 after [fall].
        models: the only ones it serves and names; by default it names none and serves any.
    """
    script, stop = Script(slow_s, pace_s, restart_s, models), threading.Event()
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
