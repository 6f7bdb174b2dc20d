"""DICOMweb archives: the addresses of instances, who may read them, and their bytes (WADO-RS).

An instance's address is `dicomweb+https://host/path/studies/U/series/U/instances/U`. Credentials
stand in the environment alone: `WRISTMIR_DICOMWEB_TOKEN` (bearer), or `WRISTMIR_DICOMWEB_USER` and
`WRISTMIR_DICOMWEB_PASSWORD`.
"""

import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wristmir_ray.errors import ConfigError, ErrorCode, Reject

SCHEMES = ("dicomweb+http://", "dicomweb+https://")
TOKEN, USER, PASSWORD = (f"WRISTMIR_DICOMWEB_{name}" for name in ("TOKEN", "USER", "PASSWORD"))

_INSTANCE = re.compile(
    r"(?P<server>.+)/studies/(?P<study>[0-9.]+)/series/(?P<series>[0-9.]+)/instances/(?P<sop>[0-9.]+)"
)
_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""As the instance is stored: a server that transcodes changes pixels and wastes its time."""
_PASSING = {408, 429, 500, 502, 503, 504}
"""Answers that another try may mend."""
_LONGEST_WAIT_S = 30.0
_local = threading.local()

T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """How a server is asked: credentials, patience."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 30.0
    attempts: int = 5
    first_wait_s: float = 1.0
    """Doubled at each further try, with jitter."""


def from_environment(**patience: Any) -> Access:
    """Return an access with the credentials that the environment holds (none: the server asks for none)."""
    token, user, password = (os.environ.get(variable, "") for variable in (TOKEN, USER, PASSWORD))
    return Access(token, user, password, **patience)


def is_dicomweb(uri: str) -> bool:
    """Return whether `uri` is the address of a DICOMweb server or of an instance on one."""
    return uri.startswith(SCHEMES)


def server_of(uri: str) -> str:
    """Return the server's own address.

    Raises:
        ConfigError: the address names no host, or holds a password.
    """
    parts = urlsplit(uri.removeprefix("dicomweb+"))
    if parts.username or parts.password:
        raise ConfigError(
            f"a DICOMweb address must hold no credentials; give them as {TOKEN}, or {USER} and {PASSWORD}"
        )
    if not parts.hostname or parts.query or parts.fragment:
        raise ConfigError("a DICOMweb address reads dicomweb+https://host:port/path, without a query")
    return parts.geturl().rstrip("/")


def address(server: str, study: str, series: str, sop: str) -> str:
    """Return an instance's address; ValueError where a UID is none."""
    uri = f"dicomweb+{server}/studies/{study}/series/{series}/instances/{sop}"
    if not _INSTANCE.fullmatch(uri):
        raise ValueError("not a UID")
    return uri


def read(uri: str, access: Access | None = None, max_bytes: int | None = None) -> bytes:
    """Return an instance's bytes as the server stores them.

    Args:
        uri: the instance's address.
        access: default: the credentials of this process's environment.
        max_bytes: larger instances are rejected without being read whole.

    Raises:
        Reject: source_unreadable, image_too_large.
    """
    found = _INSTANCE.fullmatch(uri)
    if not found:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, "the address names no DICOMweb instance")
    access = access or from_environment()
    try:
        asked = client(server_of(found["server"]), access)
        uids = found["study"], found["series"], found["sop"]
        parts: list[bytes] = patiently(lambda: asked.instance_parts(*uids, max_bytes), access)
    except Reject:
        raise
    except Exception as e:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, f"the DICOMweb server gives no instance ({why(e)})") from None
    if len(parts) != 1:
        raise Reject(ErrorCode.SOURCE_UNREADABLE, f"the DICOMweb server gives {len(parts)} instances for one")
    return parts[0]


def away(uri: str, access: Access | None = None) -> str:
    """Return why an instance's server answers no question any more, in a word or two; empty if it answers."""
    found = _INSTANCE.fullmatch(uri)
    if not found:
        return ""
    try:
        client(server_of(found["server"]), access or from_environment()).search_for_studies(limit=1)
    except Exception as e:
        status = _status(e)
        return why(e) if status is None or status >= 500 or status == 401 else ""
    return ""


def patiently(ask: Callable[[], T], access: Access) -> T:
    """Return what `ask` returns, asked again after a growing wait where the failure may pass."""
    wait_s = access.first_wait_s
    for _ in range(access.attempts - 1):
        try:
            return ask()
        except Exception as e:
            if not _may_pass(e):
                raise
        time.sleep(wait_s * random.uniform(0.5, 1.5))
        wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
    return ask()


def why(error: Exception) -> str:
    """Return a failure in a word or two: its own text may hold addresses, and so UIDs."""
    status = _status(error)
    return f"HTTP status {status}" if status else type(error).__name__


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None)
    return int(response.status_code) if response is not None else None


def _may_pass(error: Exception) -> bool:
    import requests

    if isinstance(error, requests.HTTPError):
        return _status(error) in _PASSING
    passing = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, passing) and not isinstance(error, requests.exceptions.SSLError)


def client(server: str, access: Access) -> Any:
    """Return this thread's client of a server: it keeps its connection."""
    made: dict[Any, Any] = _local.__dict__.setdefault("clients", {})
    if (server, access) not in made:
        made[server, access] = _client(server, access)
    return made[server, access]


def _client(server: str, access: Access) -> Any:
    import requests
    from dicomweb_client import DICOMwebClient

    for name in ("dicomweb_client", "retrying", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # their lines hold UIDs and queries

    class StoredBytes(DICOMwebClient):  # type: ignore[misc]
        """The package's client, but instances as bytes: it parses them, which decoding does later, and its own way."""

        def instance_parts(self, study: str, series: str, sop: str, max_bytes: int | None) -> list[bytes]:
            url = f"{self.base_url}/studies/{study}/series/{series}/instances/{sop}"
            with self._http_get(url, headers={"Accept": _STORED}, stream=True) as response:
                if max_bytes is not None:
                    response.iter_content = _at_most(max_bytes, response)
                if response.headers.get("Content-Type", "").startswith("application/dicom"):
                    return [b"".join(response.iter_content(2**20))]
                return [bytes(part) for part in self._decode_multipart_message(response, stream=True)]

    session = requests.Session()
    session.auth = _authorization(access)
    made = StoredBytes(server, session=session, timeout=access.timeout_s)
    made.set_http_retry_params(retry=False)  # `patiently` tries again, also where a body breaks off
    return made


def _at_most(max_bytes: int, response: Any) -> Callable[..., Iterator[bytes]]:
    """Return `response.iter_content`, ended by a reject where the body is larger."""
    chunks = response.iter_content
    large = Reject(ErrorCode.IMAGE_TOO_LARGE, f"the instance has more than {max_bytes} bytes")
    if int(response.headers.get("Content-Length") or 0) > max_bytes + 2**16:  # the message's own headers and marks
        raise large

    def counted(chunk_size: int) -> Iterator[bytes]:
        seen = 0
        for chunk in chunks(chunk_size):
            seen += len(chunk)
            if seen > max_bytes + 2**16:
                raise large
            yield chunk

    return counted


def _authorization(access: Access) -> Any:
    """Return what puts credentials on a request; never taken from a .netrc file."""

    def authorize(request: Any) -> Any:
        if access.token:
            request.headers["Authorization"] = f"Bearer {access.token}"
        return request

    return (access.user, access.password) if access.user and not access.token else authorize
