"""What a person lets through the de-identification gate: a list of source ids, and what it makes of rows.

SOURCES keeps what the pixels and the header of a held object say beside the reason that it is held, so
that letting it through, or taking that back, reads nothing anew. A changed object has another id, and
is judged again.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

from wristmir_ray import keys, storage
from wristmir_ray.errors import QUARANTINE, ConfigError

_SOURCE_ID = re.compile(r"[0-9a-f]{32}")
_ERRORS = ("error", "error_stage", "error_message")


def read_release(path: str | None) -> frozenset[str]:
    """Return the source ids that a person has let through.

    Args:
        path: text file, local or s3://, one id a line, # for comments; None for none.

    Raises:
        ConfigError: the file cannot be read, or a line is no source id.
    """
    if not path:
        return frozenset()
    try:
        lines = storage.read_bytes(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as e:
        raise ConfigError(f"deid.release {path} cannot be read ({type(e).__name__})") from None
    ids = [line.partition("#")[0].strip() for line in lines]
    for number, found in enumerate(ids, 1):
        if found and not _SOURCE_ID.fullmatch(found):
            raise ConfigError(f"deid.release {path}, line {number}: no source_id (32 hex digits, as EXAMS has them)")
    return frozenset(filter(None, ids))


def digest(released: frozenset[str]) -> str:
    """Return a hash of the ids; "" of none."""
    return keys.digest("released", *sorted(released)) if released else ""


def release(sources: pa.Table, released: frozenset[str]) -> tuple[pa.Table, int]:
    """Return rows of SOURCES of which the released ones are held no longer, and how many these are.

    Whatever else is wrong with a row stays: only the gate's own codes (`errors.QUARANTINE`) are lifted.
    """
    if not released:
        return sources, 0
    held = pc.is_in(sources["error"], value_set=pa.array([code.value for code in QUARANTINE]))
    lifted = pc.and_(held, pc.is_in(sources["source_id"], value_set=pa.array(sorted(released))))
    for name in _ERRORS:
        column = pc.if_else(lifted, pa.scalar(None, pa.string()), sources[name])
        sources = sources.set_column(sources.schema.get_field_index(name), sources.schema.field(name), column)
    return sources, pc.sum(lifted).as_py() or 0
