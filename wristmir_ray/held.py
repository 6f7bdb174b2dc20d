"""What a job that runs reads and writes: noted below the root as long as it runs, so that pruning leaves it alone.

A note is written anew every few minutes. One that no longer is belongs to a job that was killed: it holds
nothing any more.
"""

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from wristmir_ray import storage
from wristmir_ray.errors import StoreFailed

log = logging.getLogger(__name__)

FOLDER = "_work/held"
BEAT_S = 600.0
DEAD_H = 2.0
"""A note of this age is a killed job's."""


@contextmanager
def held(root: str, run_id: str, runs: Mapping[str, str], work: Sequence[str]) -> Iterator[None]:
    """Hold runs and work folders while the body runs.

    Args:
        root: folder or s3:// prefix.
        run_id: who holds them.
        runs: name -> run id of what is read.
        work: folders below `_work` that are read or written, `NAME/FOLDER`.
    """
    note = storage.join(root, FOLDER, f"{run_id}.json")
    content = json.dumps({"runs": dict(runs), "work": list(work)}).encode()
    ended = threading.Event()

    def refresh() -> None:
        while not ended.wait(BEAT_S):
            try:
                storage.write_bytes(note, content)
            except StoreFailed:
                log.warning("a note of what is in use cannot be written", extra={"fields": {"note": note}})

    storage.write_bytes(note, content)
    beat = threading.Thread(target=refresh, name="held", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(Exception):  # what the body raised comes first, and a note that stays dies by itself
            storage.delete(note)


def read(note: str) -> tuple[dict[str, str], list[str]]:
    """Return the runs and the work folders that a note holds; nothing where its job has just ended."""
    try:
        said = json.loads(storage.read_bytes(note))
    except FileNotFoundError:
        return {}, []
    return said["runs"], said["work"]
