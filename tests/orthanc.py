"""A real DICOMweb server (Orthanc with its plugin, as Debian packages them) on a free port, with a password."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER, PASSWORD = "reader", "pw"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def binary() -> str | None:
    """Where Orthanc stands, or None: `apt-get install orthanc orthanc-dicomweb` brings it."""
    found = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    return found if found and _PLUGIN.exists() else None


@dataclass(frozen=True)
class Orthanc:
    port: int

    @property
    def images(self) -> str:
        return f"dicomweb+http://127.0.0.1:{self.port}/dicom-web"

    def store(self, data: bytes) -> None:
        self._ask("POST", "/instances", data)

    def delete(self, sop_instance_uid: str) -> None:
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sop_instance_uid}}
        for found in json.loads(self._ask("POST", "/tools/find", json.dumps(query).encode())):
            self._ask("DELETE", f"/instances/{found}")

    def _ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        secret = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        request.add_header("Authorization", f"Basic {secret}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start the server on an empty archive in `folder`, yield it, end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings: Mapping[str, object] = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": True,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    command = [str(binary()), str(folder / "orthanc.json")]
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield Orthanc(port)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, "Orthanc ended at its start"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("Orthanc does not listen")
