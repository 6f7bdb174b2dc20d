"""Keys: all derived from content, none linking to a patient outside."""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from wristmir_ray.anatomy import Split
from wristmir_ray.errors import ConfigError

HASH_KEY_VARIABLE = "WRISTMIR_HASH_KEY"
_PACKAGE = Path(__file__).parent


def digest(*parts: str | bytes | memoryview) -> str:
    """Return a 128-bit hash of the parts as 32 hex digits; parts cannot run into each other."""
    h = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.hexdigest()[:32]


def hash_key() -> bytes:
    """Return the secret that keys patient, study and exam identifiers.

    Raises:
        ConfigError: the variable `WRISTMIR_HASH_KEY` is missing or shorter than 16 characters.
    """
    value = os.environ.get(HASH_KEY_VARIABLE, "")
    if len(value) < 16:
        raise ConfigError(
            f"environment variable {HASH_KEY_VARIABLE} must hold a secret of at least 16 characters "
            f"(patient ids are hashed with it); make one with: export {HASH_KEY_VARIABLE}=$(openssl rand -hex 32)"
        )
    return value.encode()


def keyed(key: bytes, kind: str, value: str) -> str:
    """Return HMAC-SHA256(key, kind + value) cut to 128 bits, as 32 hex digits."""
    return hmac.digest(key, f"{kind}\0{value}".encode(), "sha256").hex()[:32]


def source_id(uri: str, size: int, stamp: str) -> str:
    """Return the key of one stored object: known before it is decoded, new when it changes."""
    return digest("source", uri, str(size), stamp)


def pixel_id(pixels: np.ndarray) -> str:
    """Return a hash of stored pixels, shape and dtype (before any look-up table).

    The pixels' own is BLAKE3, a quarter of the time of SHA-256: each image is hashed whenever it is read.
    """
    content = blake3(np.ascontiguousarray(pixels).data.cast("B")).digest()
    return digest("pixels", str(pixels.shape), str(pixels.dtype), content)


def report_id(text: str) -> str:
    """Return the key of a report text."""
    return digest("report", text)


def caption_id(text: str) -> str:
    """Return the key of a caption text: equal captions are each other's positives."""
    return digest("caption", text)


def split_of(patient_id: str, val_share: float, test_share: float) -> Split:
    """Return the split of a patient: a patient is in exactly one, whatever the archive's order.

    Args:
        patient_id: hashed patient id, hex.
        val_share, test_share: shares in [0, 1] of patients.
    """
    u = int(digest("split", patient_id)[:13], 16) / 16**13
    if u < test_share:
        return Split.TEST
    return Split.VAL if u < test_share + val_share else Split.TRAIN


def code_version(*rooms: str, declarations: bool = True) -> str:
    """Return a hash over the source of the named modules and rooms (and the table declarations).

    It goes into the run id, so that a result made by other code is another run.

    Args:
        rooms: modules and folders of this package.
        declarations: whether any change of any table's declaration makes another version; without,
            the caller says which tables count.
    """
    h = hashlib.sha256()
    for room in sorted({*rooms, "anatomy", *(["schemas", "tables"] if declarations else [])}):
        path = _PACKAGE / room
        files = (
            sorted(p for p in path.rglob("*") if p.suffix in {".py", ".csv", ".yaml", ".json"})
            if path.is_dir()
            else [path.with_suffix(".py")]
        )
        for file in files:
            h.update(str(file.relative_to(_PACKAGE)).encode() + b"\0" + file.read_bytes() + b"\0")
    return h.hexdigest()[:16]


def run_id(job: str, settings: Mapping[str, Any], inputs: Mapping[str, str], code: str) -> str:
    """Return the id of a run: the same work has the same id, which is how a killed job resumes.

    Args:
        job: the job's name.
        settings: what changes the rows (not where it runs, not its log level).
        inputs: input name -> run id or digest.
        code: `code_version(...)`.
    """
    text = json.dumps([job, settings, dict(inputs), code], sort_keys=True, default=str)
    return digest("run", text)[:20]
