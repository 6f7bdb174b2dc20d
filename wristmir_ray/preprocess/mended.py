"""Images that an earlier run could not read, or found replaced: whether another try would come to something else."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.errors import ErrorCode, reject_columns
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.schemas import CROPS, EXAMS
from wristmir_ray.sources import read_source
from wristmir_ray.tablerun import TableRun
from wristmir_ray.takeover import latest_run

MENDABLE = (ErrorCode.SOURCE_UNREADABLE, ErrorCode.SOURCE_CHANGED)
AFTER = "mended_after"
"""Name of the input of a further run over the same EXAMS: the run before it."""

_READERS = 8


def further_run(run: TableRun, config: DecodeConfig) -> TableRun:
    """Return the run that is to be done, or stands finished: this one, or one that comes after it.

    The same EXAMS, settings, models and code make the same run, which is not done twice. Where its finished tables
    hold images that could not be read, these are tried first: if one of them now comes to anything else, a further
    run takes over what is settled and does the rest.

    Args:
        run: over published EXAMS.
        config: decoding.

    Raises:
        StoreFailed: the store of such an image is away.
    """
    root, exams_run = run.config.root, run.inputs[EXAMS.name]
    last = latest_run(root, CROPS.name, lambda m: m.kind == run.kind and m.inputs.get(EXAMS.name) == exams_run)
    if last is None:
        return run
    lost = _lost(root, last) if set(MENDABLE) & set(last.rejects) else []
    return replace(run, inputs={**run.inputs, AFTER: last.run_id} if _any_mended(lost, config) else last.inputs)


def _lost(root: str, last: storage.Manifest) -> list[dict[str, Any]]:
    """Return the rows of EXAMS whose images the run has lost, each with its code: source_uri, pixel_id, error."""
    where = (pc.field("region") == Region.WRIST.value) & pc.field("error").isin([code.value for code in MENDABLE])
    codes = storage.read_table(root, CROPS, last.run_id, ["exam_id", "error"], good_only=False, where=where)
    wanted = pc.field("exam_id").isin(codes["exam_id"].combine_chunks())
    exams = storage.read_table(
        root, EXAMS, last.inputs[EXAMS.name], ["exam_id", "source_uri", "pixel_id"], where=wanted
    )
    return list(exams.join(codes, "exam_id").to_pylist())


def _any_mended(lost: list[dict[str, Any]], config: DecodeConfig) -> bool:
    def mended(row: Mapping[str, Any]) -> bool:
        try:
            decode(read_source(row["source_uri"]), config, row["pixel_id"])
        except Exception as e:
            return bool(reject_columns(e, "")["error"] != row["error"])
        return True

    with ThreadPoolExecutor(_READERS) as pool:
        try:
            return any(pool.map(mended, lost))
        finally:
            pool.shutdown(cancel_futures=True)
