"""What is in use: noted below the root by a job that runs, or by a service, so that pruning leaves it alone.

A note is written anew every few minutes. One that no longer is belongs to somebody who was killed or has stopped: it
holds nothing any more.
"""

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from wristmir_ray import storage
from wristmir_ray.errors import StoreFailed

log = logging.getLogger(__name__)

FOLDER = "_work/held"
BEAT_S = 600.0
DEAD_H = 2.0
"""A note of this age is nobody's."""


class Note:
    """One holder's note. A thread of its own writes it anew until it is dropped.

    Args:
        root: folder or s3:// prefix.
        name: of the holder; nobody else's.
    """

    def __init__(self, root: str, name: str) -> None:
        self._note = storage.join(root, FOLDER, f"{name}.json")
        self._content = b""
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None

    def hold(self, runs: Iterable[tuple[str, str]], work: Sequence[str] = ()) -> None:
        """Hold these, and what was held before no more.

        Args:
            runs: (name, run id) of what is read.
            work: folders below `_work` that are read or written, `NAME/FOLDER`.

        Raises:
            StoreFailed: the note cannot be written now; it is tried again.
        """
        self._content = json.dumps({"runs": sorted(runs), "work": list(work)}).encode()
        if self._beat is None:  # before the note is written: what fails now is tried again
            self._beat = threading.Thread(target=self._refresh, name="held", daemon=True)
            self._beat.start()
        storage.write_bytes(self._note, self._content)

    def drop(self) -> None:
        """Hold nothing any more."""
        self._ended.set()
        if self._beat is not None:
            self._beat.join()
        with suppress(Exception):  # a note that stays dies by itself
            storage.delete(self._note)

    def _refresh(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                storage.write_bytes(self._note, self._content)
            except StoreFailed:
                log.warning("a note of what is in use cannot be written", extra={"fields": {"note": self._note}})


@contextmanager
def held(root: str, run_id: str, runs: Mapping[str, str], work: Sequence[str]) -> Iterator[None]:
    """Hold runs and work folders while the body runs.

    Args:
        root: folder or s3:// prefix.
        run_id: who holds them.
        runs: name -> run id of what is read.
        work: folders below `_work` that are read or written, `NAME/FOLDER`.
    """
    note = Note(root, run_id)
    try:
        note.hold(runs.items(), work)
        yield
    finally:
        note.drop()


def read(note: str) -> tuple[set[tuple[str, str]], list[str]]:
    """Return the runs (name, run id) and the work folders that a note holds; nothing where its job has just ended."""
    try:
        said = json.loads(storage.read_bytes(note))
    except FileNotFoundError:
        return set(), []
    runs = said["runs"]
    pairs = runs.items() if isinstance(runs, dict) else runs  # a job of before this note's form may still run
    return {(name, run_id) for name, run_id in pairs}, said["work"]
