"""A DICOMweb server that answers as a test tells it to: pages, failures, passwords. In this process, on a free port."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TAGS = {"SOPInstanceUID": "00080018", "StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E"}


@dataclass
class Script:
    """What the server holds and how it behaves; `asked` and `queries` say what it was asked."""

    instances: dict[str, bytes] = field(default_factory=dict)
    """UID -> the object; each in a study and a series of its own."""
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """UID -> further attributes of its answer, by tag."""
    failures: dict[str, list[int]] = field(default_factory=dict)
    """UID (or "query") -> statuses to give first."""
    cut: set[str] = field(default_factory=set)
    """UIDs whose first body breaks off."""
    authorization: str = ""
    """What the header must hold."""
    largest_page: int = 1000
    ignores_offset: bool = False
    chunked: bool = False
    whole_body: bool = False
    """Bodies without multipart, as some servers send them."""
    asked: Counter[str] = field(default_factory=Counter)
    queries: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""

    def address(self, uid: str) -> str:
        return f"dicomweb+{self.url}/studies/1.{uid}/series/2.{uid}/instances/{uid}"


@contextmanager
def scripted_dicomweb(script: Script) -> Iterator[Script]:
    """Serve `script` until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that hang up are part of the script
    script.url = f"http://127.0.0.1:{server.server_port}/pacs"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                script.at_once += 1
                script.most_at_once = max(script.most_at_once, script.at_once)
            try:
                self._answer()
            finally:
                with lock:
                    script.at_once -= 1

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            found = re.fullmatch(r"/pacs/studies/[0-9.]+/series/[0-9.]+/instances/([0-9.]+)", parts.path)
            name = found[1] if found else "query"
            with lock:
                script.asked[name] += 1
                failing = script.failures.get(name) or []
                status = failing.pop(0) if failing else 200
            if script.authorization and self.headers.get("Authorization") != script.authorization:
                self._send(401, b"")
            elif status != 200:
                self._send(status, b"secret words about UID 1.2.3")
            elif found:
                self._instance(name)
            elif parts.path == "/pacs/instances":
                self._page({k: v[0] for k, v in parse_qs(parts.query).items()})
            else:
                self._send(404, b"")

        def _page(self, query: dict[str, str]) -> None:
            script.queries.append(query)
            offset = 0 if script.ignores_offset else int(query["offset"])
            uids = sorted(script.instances)[offset:][: min(int(query["limit"]), script.largest_page)]
            answers = [
                {
                    TAGS["SOPInstanceUID"]: {"vr": "UI", "Value": [uid]},
                    TAGS["StudyInstanceUID"]: {"vr": "UI", "Value": [f"1.{uid}"]},
                    TAGS["SeriesInstanceUID"]: {"vr": "UI", "Value": [f"2.{uid}"]},
                    **{tag: {"vr": "LO", "Value": [v]} for tag, v in script.attributes.get(uid, {}).items()},
                }
                for uid in uids
            ]
            self._send(200, json.dumps(answers).encode() if answers else b"", "application/dicom+json")

        def _instance(self, uid: str) -> None:
            data = script.instances.get(uid)
            if data is None:
                self._send(404, b"")
                return
            kind = "application/dicom"
            if not script.whole_body:
                head = b"--mark\r\nContent-Type: application/dicom\r\n\r\n"
                data, kind = (
                    head + data + b"\r\n--mark--\r\n",
                    'multipart/related; type="application/dicom"; boundary=mark',
                )
            cut = uid in script.cut
            script.cut.discard(uid)
            self._send(200, data, kind, cut)

        def _send(self, status: int, body: bytes, kind: str = "text/plain", cut: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if script.chunked and status == 200:
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n")
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

    return Handler
