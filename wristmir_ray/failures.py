"""What a stage raised on a worker, as the driver's user is to be told it.

Ray wraps it in errors of its own, some with pages of frames and advice about itself.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from wristmir_ray import storage
from wristmir_ray.errors import WorkerFails, WristmirError

_ERROR_LINE = re.compile(r"[\w.]*(Error|Exception)(:|$)")
_LONGEST_REASON = 300


@contextmanager
def told_as_ours() -> Iterator[None]:
    """Raise what Ray has wrapped as the error of this package that it is, in one line."""
    try:
        yield
    except Exception as e:
        ours = on_purpose(e)
        if ours is None:
            raise
        raise ours from None


def on_purpose(error: BaseException) -> WristmirError | None:
    """Return the error of this package that a worker raised and Ray has wrapped, or None; without Ray's own advice."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, WristmirError) and not isinstance(found, ray.exceptions.RayError):
            return type(found)(str(found).partition("\n")[0])
        if failed := storage.failure(found) or _does_not_start(found):
            return failed
        found = getattr(found, "cause", None) or found.__cause__
    return None


def _does_not_start(error: BaseException) -> WorkerFails | None:
    """Return what a worker's death in its constructor amounts to: its own error in one line, none of Ray's frames."""
    if not (isinstance(error, ray.exceptions.ActorDiedError) and error.actor_init_failed):
        return None
    told = [line.strip() for line in str(error).splitlines() if _ERROR_LINE.match(line.strip())]
    reason = told[-1] if told else "without an error of its own"
    return WorkerFails(f"a worker does not start: {reason[:_LONGEST_REASON]}; mend the settings of its model and place")
