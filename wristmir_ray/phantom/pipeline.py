"""The phantom archive's wiring: patients -> exams -> image files and tables, renamed into place."""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from wristmir_ray import keys, raydata, storage
from wristmir_ray.errors import ConfigError
from wristmir_ray.job import Summary
from wristmir_ray.phantom import archive, stages
from wristmir_ray.phantom.config import PhantomConfig
from wristmir_ray.phantom.population import patients

_SETTINGS = {"exams", "seed", "png_share", "monochrome1_share", "sealed_reports"}


def run(config: PhantomConfig) -> Summary:
    """Make the archive, or find that this very one is there already.

    Raises:
        ConfigError: `out` holds something else or cannot be written.
    """
    settings = config.model_dump(mode="json", include=_SETTINGS)
    code = keys.code_version("phantom")
    run_id = keys.run_id("make_phantoms", settings, {}, code)
    done = archive.finished(config.out, run_id, config.replace)
    if done is not None:
        return _summary(config, done, skipped=True)
    folder = f"{config.out.rstrip('/')}.making-{run_id}"
    storage.delete_tree(folder)  # what an interrupted try left
    storage.check_writable(folder)
    raydata.connect(config.ray)
    started = time.monotonic()
    batches = build(_patients(config), config, folder).iter_batches(batch_format="pyarrow", batch_size=None)
    rows = pa.concat_tables([b for b in batches if b.num_rows]).sort_by("file")
    seconds = time.monotonic() - started
    archive.write_tables(folder, rows, stages.write_sealed(config))
    manifest = {
        "run_id": run_id,
        "settings": settings,
        "code": code,
        "facts": {**_facts(rows), "images_per_second": round(rows.num_rows / seconds, 1)},
    }
    archive.write_manifest(folder, manifest)
    _move_into_place(folder, config.out)
    return _summary(config, manifest)


def build(rows: ray.data.Dataset, config: PhantomConfig, folder: str) -> ray.data.Dataset:
    """Return EXAM_ROWS without pixels for rows of patients; the pixels are files below `folder`."""
    return rows.map_batches(_draw, fn_kwargs={"config": config, "folder": folder}, **raydata.tasks(config.pool))


def _draw(batch: pa.Table, config: PhantomConfig, folder: str) -> pa.Table:
    """Draw a batch and write its images; 1:N. Writing twice gives the same files."""
    exams = stages.draw_exams(batch, config=config)
    for file, image in zip(exams["file"].to_pylist(), exams["image"].to_pylist(), strict=True):
        storage.write_bytes(storage.join(folder, file), image)
    return exams.drop_columns(["image"])


def _patients(config: PhantomConfig) -> ray.data.Dataset:
    names = ("patient", "first_index", "exams")
    rows = [dict(zip(names, row, strict=True)) for row in patients(config.seed, config.exams)]
    table = pa.Table.from_pylist(rows, pa.schema([(n, pa.int64()) for n in names]))
    step = max(config.pool.batch_size, -(-table.num_rows // 2000))
    return ray.data.from_arrow([table.slice(i, step) for i in range(0, table.num_rows, step)])


def _facts(rows: pa.Table) -> dict[str, Any]:
    """Return counts: exams, patients, exams by format, fractures by region."""
    present = [f["region"] for e in rows["findings"].to_pylist() for f in e if f["presence"] == "present"]
    return {
        "exams": rows.num_rows,
        "patients": len(set(rows["patient_id"].to_pylist())),
        "formats": dict(sorted(Counter(rows["format"].to_pylist()).items())),
        "fractures": dict(sorted(Counter(present).items())),
    }


def _move_into_place(folder: str, out: str) -> None:
    """Rename the finished folder: the archive is there whole, or not at all."""
    if Path(out).is_dir():
        storage.delete_tree(out)  # empty, or to be replaced: `finished` has seen it
    try:
        os.rename(folder, out)
    except OSError as e:
        raise ConfigError(f"cannot move the archive to {out} ({e.strerror}); choose another `out`") from None


def _summary(config: PhantomConfig, manifest: dict[str, Any], skipped: bool = False) -> Summary:
    facts = {**manifest["facts"], "archive": config.out}
    return Summary(
        job="make_phantoms",
        runs={"phantoms": manifest["run_id"]},
        rows=facts["exams"],
        skipped=skipped,
        max_reject_share=config.max_reject_share,
        facts=facts,
    )
