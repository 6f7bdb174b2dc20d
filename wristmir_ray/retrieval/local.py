"""A local copy of an index that is published on S3: memory maps need files."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError


def local_folder(folder: str, run: storage.Manifest) -> Path:
    """Return a local folder with the run's files; a copy that is there already is used.

    Copies are this user's alone: an index holds captions and hashed patient ids.

    Args:
        folder: its run folder, local or s3://.
        run: its manifest; runs are immutable, so that a copy is named by folder and manifest.

    Raises:
        ConfigError: the folder of copies is another user's.
    """
    if not storage.is_s3(folder):
        return Path(folder)
    copies = Path(tempfile.gettempdir()) / f"wristmir-index-{os.getuid()}"
    copies.mkdir(mode=0o700, exist_ok=True)
    if copies.stat().st_uid != os.getuid() or copies.stat().st_mode & 0o077:
        raise ConfigError(f"{copies} is open to other users; remove it, or set TMPDIR to a folder of your own")
    target = copies / keys.digest(folder, json.dumps(asdict(run), sort_keys=True, default=str))
    for name in run.files:
        if not (target / name).exists():
            storage.write_bytes(str(target / name), storage.read_bytes(storage.join(folder, name)))
    return target
