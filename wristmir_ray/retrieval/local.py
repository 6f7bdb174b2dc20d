"""Local files of an index that is published on S3: memory maps need files. Of a share, its rows alone are fetched."""

import io
import json
import math
import os
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.retrieval.layout import FOUND, METADATA
from wristmir_ray.retrieval.segment import read_exams

_HEADER = 4096
"""Bytes in which the header of an array's file lies."""
_GONE = "gone-"
KEPT_S = 7 * 86_400
"""A copy that was opened last so long ago goes when another is opened; who has it open keeps what he has mapped."""


def local_rows(folder: str, run: storage.Manifest, rows: tuple[int, int], total: int) -> tuple[Path, int]:
    """Return a local folder with at least these rows of a segment, and the row with which its files begin.

    Copies are this user's alone: an index holds captions and hashed patient ids. One that is there already is used.

    Args:
        folder: the segment's run folder, local or s3://.
        run: its manifest; runs are immutable, so that a copy is named by folder, manifest and rows.
        rows: the first, and the one after the last.
        total: rows of the segment.

    Raises:
        ConfigError: the folder of copies is another user's.
    """
    if not storage.is_s3(folder):
        return Path(folder), 0
    copies = Path(tempfile.gettempdir()) / f"wristmir-index-{os.getuid()}"
    copies.mkdir(mode=0o700, exist_ok=True)
    if copies.stat().st_uid != os.getuid() or copies.stat().st_mode & 0o077:
        raise ConfigError(f"{copies} is open to other users; remove it, or set TMPDIR to a folder of your own")
    whole = rows == (0, total)
    part = "" if whole else f" rows {rows}"
    target = copies / keys.digest(folder, json.dumps(asdict(run), sort_keys=True, default=str) + part)
    target.mkdir(exist_ok=True)
    os.utime(target)
    _forget(copies)
    for name in run.files:
        if not (target / name).exists() and (whole or name == METADATA or name.endswith(".npy")):
            source = storage.join(folder, name)
            if whole:
                storage.copy_to_file(source, target / name)
            else:
                storage.write_bytes(str(target / name), _rows(source, name, rows))
    return target, rows[0]


def _forget(copies: Path) -> None:
    """Delete the copies that nobody has opened for long, and what is left of those that were being deleted."""
    for copy in copies.iterdir():
        with suppress(OSError):  # another replica does the same
            if time.time() - copy.stat().st_mtime > KEPT_S:
                gone = copy.rename(copies / f"{_GONE}{uuid.uuid4().hex}")  # who opens it now finds none, and copies it
                shutil.rmtree(gone)


def _rows(uri: str, name: str, rows: tuple[int, int]) -> bytes:
    """Return a file of a segment as one of these rows alone; what is not by row stays as it is."""
    if name.endswith(".axes.npy"):
        return storage.read_bytes(uri)
    if name == FOUND:
        return _saved(np.load(io.BytesIO(storage.read_bytes(uri)))[:, rows[0] : rows[1]])
    fs, path = storage.filesystem(uri)
    with fs.open_input_file(path) as file:
        if name == METADATA:
            out = io.BytesIO()
            pq.write_table(read_exams(file, slice(*rows)), out, compression="zstd")
            return out.getvalue()
        return _saved(_array_rows(file, rows))


def _array_rows(file: Any, rows: tuple[int, int]) -> np.ndarray:
    """Return rows of an array's file; of a store, their bytes alone are read."""
    form: Any = np.lib.format
    head = io.BytesIO(file.read(_HEADER))
    form.read_magic(head)
    shape, _, dtype = form.read_array_header_1_0(head)
    wide = math.prod(shape[1:])
    file.seek(head.tell() + rows[0] * wide * dtype.itemsize)
    flat = np.frombuffer(file.read((rows[1] - rows[0]) * wide * dtype.itemsize), dtype)
    return flat.reshape(-1, *shape[1:])


def _saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()
