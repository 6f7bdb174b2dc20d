"""Tokens to go on with an unfinished answer: the query and how far it has come, signed.

A token holds what its owner sent and what he was told, nothing else: his query's parameters and vectors,
and the state and score of each candidate of his pool by its rank. It names the run of the index: over
another one ranks mean other exams. Its signature keeps anyone from making one up.
"""

import base64
import hashlib
import hmac
import json
import logging
import os
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.pool import Progress
from wristmir_ray.serving import api

log = logging.getLogger(__name__)

SECRET_FILE = "token.key"
SIGNED_BYTES = 32


@dataclass(frozen=True)
class Claim:
    """What a token says."""

    index_run: str
    parameters: api.SearchParameters
    progress: Progress
    exam_id: str | None = None
    vectors: Mapping[Region, np.ndarray] = field(default_factory=dict)
    boxes: Mapping[Region, api.PixelBox] = field(default_factory=dict)


def seal(claim: Claim, secret: bytes) -> str:
    """Return a claim as a token."""
    head: dict[str, Any] = {
        "index": claim.index_run,
        "parameters": claim.parameters.model_dump(mode="json", exclude={"deadline_s"}),
        "exam_id": claim.exam_id,
        "vectors": [r.value for r in claim.vectors],
        "boxes": {r.value: b.model_dump() for r, b in claim.boxes.items()},
        "pool": len(claim.progress.states),
    }
    text = json.dumps(head).encode()
    arrays = [np.asarray(v, "<f4").tobytes() for v in claim.vectors.values()]
    far = claim.progress.states.astype("u1").tobytes(), claim.progress.scores.astype("<f4").tobytes()
    body = zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *far, *arrays]))
    return base64.urlsafe_b64encode(hmac.digest(secret, body, hashlib.sha256) + body).decode()


def unseal(token: str, secret: bytes) -> Claim | None:
    """Return what a token says, or None where we did not make it."""
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except ValueError:
        return None
    signed, body = raw[:SIGNED_BYTES], raw[SIGNED_BYTES:]
    if not hmac.compare_digest(signed, hmac.digest(secret, body, hashlib.sha256)):
        return None
    plain = zlib.decompress(body)
    start = 4 + int.from_bytes(plain[:4], "little")
    head = json.loads(plain[4:start])
    pool = head["pool"]
    states = np.frombuffer(plain, "u1", pool, start)
    scores = np.frombuffer(plain, "<f4", pool, start + pool)
    rest = np.frombuffer(plain[start + 5 * pool :], "<f4").reshape(len(head["vectors"]) or 1, -1)
    return Claim(
        index_run=head["index"],
        parameters=api.SearchParameters(**head["parameters"]),
        progress=Progress(states, scores.astype(np.float32)),
        exam_id=head["exam_id"],
        vectors={Region(r): v.astype(np.float32) for r, v in zip(head["vectors"], rest, strict=False)},
        boxes={Region(r): api.PixelBox(**b) for r, b in head["boxes"].items()},
    )


def load_secret(place: str | None) -> bytes:
    """Return the secret that signs tokens: that of `place`, made there by who comes first.

    Where none can be kept, one that this process alone knows: its tokens end with it.
    """
    made = secrets.token_bytes(SIGNED_BYTES)
    if place is None:
        return made
    uri = storage.join(place, SECRET_FILE)
    try:
        if not storage.exists(uri):
            _write_new(uri, made)
        return storage.read_bytes(uri)
    except Exception as e:
        log.error("no secret could be kept: tokens hold at one replica", extra={"fields": {"reason": type(e).__name__}})
        return made


def _write_new(uri: str, data: bytes) -> None:
    """Write a file that only its owner reads, whole, unless somebody else did."""
    if storage.is_s3(uri):
        client, bucket, key = storage.s3_client(uri)
        try:
            client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except client.exceptions.ClientError as e:
            if e.response["Error"]["Code"] not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
        return
    Path(uri).parent.mkdir(parents=True, exist_ok=True)
    scratch = f"{uri}.{os.getpid()}.{secrets.token_hex(4)}"
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(data)
    try:
        os.link(scratch, uri)
    except FileExistsError:
        pass
    finally:
        os.unlink(scratch)
