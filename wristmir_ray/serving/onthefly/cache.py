"""A content-addressed cache of computed bones: a dictionary in memory, written behind to a folder or S3.

    <place>/<making>/<uuid>.parquet    rows of key, region found or not, vector, box; immutable

A key is a hash of the image and of all that made the vector, so that a row never becomes wrong, only
useless. Files are few: a new one takes in those before it that are no larger than twice its rows. Each is written
whole or not at all, under a name of its own, and read at the start alone: two writers can only
double a row. What cannot be written stays in memory and is tried again with the next rows.
"""

import json
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wristmir_ray import keys, storage
from wristmir_ray.anatomy import Box
from wristmir_ray.retrieval.index import NAME as INDEX
from wristmir_ray.retrieval.unstored import Found, State
from wristmir_ray.schemas import CROPS
from wristmir_ray.serving.config import BonesSettings, ServeArgs
from wristmir_ray.serving.lineage import Pins
from wristmir_ray.tables import vectors

log = logging.getLogger(__name__)

SUFFIX = ".parquet"
USED = "used"
"""A file that each start on a cache with rows writes anew: `jobs/prune_runs.py` goes by it."""
BYTES_A_ROW = 512
"""What a row takes in memory beside its vector, about."""
MOST_ROWS = 65_536
"""Of a file: a larger one is not written again."""


@dataclass
class _File:
    uri: str | None
    """None: not written yet."""
    keys: list[str] = field(default_factory=list)


class Cache:
    """Found bones by key, the oldest forgotten first.

    Args:
        place: folder or s3:// prefix; None: nothing survives.
        making: names the folder of what was made alike.
        dim: D of a vector.
        max_bytes: of all rows, in memory and, about, at `place`.
    """

    def __init__(self, place: str | None, making: str, dim: int, max_bytes: int) -> None:
        self._folder = storage.join(place, making) if place else None
        self._dim = dim
        self._most = max(1, max_bytes // (4 * dim + BYTES_A_ROW))
        self._rows: OrderedDict[str, Found] = OrderedDict()
        self._files: list[_File] = []
        self._new: dict[str, Found] = {}
        self._lock = threading.Lock()  # rows come on an event loop, and are written by a thread
        self.write_failures = 0
        """Times that rows could not be written."""
        self._read()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: str) -> Found | None:
        """Return what is known under a key."""
        return self._rows.get(key)

    def put(self, key: str, found: Found) -> None:
        """Keep a fact; it is at `place` after the next `flush`."""
        if not found.state.is_fact:
            raise ValueError("a cache keeps facts alone")
        with self._lock:
            if key not in self._rows:
                self._rows[key] = found
                if self._folder:
                    self._new[key] = found
                self._forget()

    @property
    def is_behind(self) -> bool:
        """Whether something is not written that is to be."""
        return bool(self._new) and self._folder is not None

    def flush(self) -> bool:
        """Write what is new; return whether all is written. A disk that is full costs nothing but that."""
        if self._folder is None or not self.is_behind:
            return True
        with self._lock:
            new, self._new = self._new, {}
            merged = self._mergeable(len(new))
            rows = {k: self._rows[k] for file in merged for k in file.keys if k in self._rows} | new
        uri = storage.join(self._folder, f"{uuid.uuid4().hex}{SUFFIX}")
        try:
            storage.write_parquet(self._table(rows), uri, 4096)
        except Exception as e:  # a full disk, a store that is away or refuses: answers go on without
            self.write_failures += 1
            log.error("computed bones could not be written", extra={"fields": {"reason": type(e).__name__}})
            with self._lock:
                self._new = {**new, **self._new}
                self._forget()
            return False
        self._files = [*(f for f in self._files if f not in merged), _File(uri, list(rows))]
        for file in merged:
            _delete(file.uri)
        self._shrink()
        return True

    def _mergeable(self, count: int) -> list[_File]:
        """Return the newest files that a new one of `count` rows takes in."""
        out: list[_File] = []
        for file in reversed(self._files):
            if len(file.keys) > 2 * count or len(file.keys) + count > MOST_ROWS:
                break
            out.insert(0, file)
            count += len(file.keys)
        return out

    def _forget(self) -> None:
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        while len(self._new) > self._most:
            del self._new[next(iter(self._new))]

    def _shrink(self) -> None:
        """Delete files of which nothing is held any more."""
        for file in list(self._files):
            if not any(k in self._rows for k in file.keys):
                self._files.remove(file)
                _delete(file.uri)

    def _read(self) -> None:
        if self._folder is None:
            return
        started = time.monotonic()
        try:
            uris = storage.list_files(self._folder, SUFFIX)
        except Exception as e:
            log.error("the cache cannot be read", extra={"fields": {"reason": type(e).__name__}})
            return
        try:
            if uris:
                storage.write_bytes(storage.join(self._folder, USED), b"")
        except Exception as e:  # a full disk: it is read all the same
            log.error("the cache cannot be written", extra={"fields": {"reason": type(e).__name__}})
        for uri in uris:
            try:
                rows = _rows(pq.read_table(pa.BufferReader(storage.read_bytes(uri))), self._dim)
            except Exception as e:  # cut short by a disk, or of another width: it is computed again
                log.error("a file of the cache was left out", extra={"fields": {"reason": type(e).__name__}})
                continue
            self._rows |= rows
            self._files.append(_File(uri, list(rows)))
        self._files.sort(key=lambda f: -len(f.keys))
        self._forget()
        fields = {"rows": len(self._rows), "files": len(self._files), "s": round(time.monotonic() - started, 2)}
        log.info("cache read", extra={"fields": fields})

    def _table(self, known: Mapping[str, Found]) -> pa.Table:
        found = list(known.values())
        kind = pa.fixed_shape_tensor(pa.float32(), [self._dim])
        lacks = np.array([f.vector is None for f in found])
        none = np.zeros(self._dim, np.float32)
        flat = np.concatenate([none if f.vector is None else f.vector for f in found])
        rows = pa.FixedSizeListArray.from_arrays(pa.array(flat), self._dim, mask=pa.array(lacks))
        return pa.table(
            {
                "key": pa.array(list(known), pa.string()),
                "box": pa.array([_corners(f.box) for f in found], pa.list_(pa.float32())),
                "embedding": pa.ExtensionArray.from_storage(kind, rows),
            }
        )


def open_cache(args: ServeArgs, pins: Pins, settings: BonesSettings) -> Cache:
    """Return the cache of what these detectors, this encoder, these settings and this code make."""
    crops = storage.published(args.root, CROPS.name, pins.crops)
    index = storage.published(args.root, INDEX, pins.lineage.index)
    code = keys.code_version("preprocess", "imaging", "models")
    runtime = json.dumps(crops.config.get("runtime"), sort_keys=True)
    making = keys.digest("making", pins.preparation, pins.encoder_digest, runtime, code)
    return Cache(args.cache_place, making, int(index.metrics["dim"]), int(settings.cache_gib * 2**30))


def _corners(box: Box | None) -> Sequence[float] | None:
    return None if box is None else (box.x0_px, box.y0_px, box.x1_px, box.y1_px)


def _rows(table: pa.Table, dim: int) -> dict[str, Found]:
    if table["embedding"].type.shape != [dim]:
        raise ValueError("vectors of another width")
    array = vectors(table["embedding"])
    lacks = np.isnan(array[:, 0])
    boxes = table["box"].to_pylist()
    return {
        key: Found(State.NO_REGION) if lacks[i] else Found(State.COMPARED, array[i], Box(*boxes[i]))
        for i, key in enumerate(table["key"].to_pylist())
    }


def _delete(uri: str | None) -> None:
    try:
        if uri:
            storage.delete(uri)
    except Exception as e:
        log.warning("a file of the cache stays", extra={"fields": {"reason": type(e).__name__}})
