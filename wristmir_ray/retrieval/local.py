"""A local copy of an index that is published on S3: memory maps need files."""

import tempfile
from pathlib import Path

from wristmir_ray import storage


def local_folder(folder: str, run: storage.Manifest) -> Path:
    """Return a local folder with the run's files; a copy that is there already is used.

    Args:
        folder: its run folder, local or s3://.
        run: its manifest; runs are immutable, so that a copy is named by the run alone.
    """
    if not storage.is_s3(folder):
        return Path(folder)
    target = Path(tempfile.gettempdir()) / "wristmir-index" / run.run_id
    for name in run.files:
        if not (target / name).exists():
            storage.write_bytes(str(target / name), storage.read_bytes(storage.join(folder, name)))
    return target
